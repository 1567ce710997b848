"""Which recorded operation made the mistake that a finding names.

What a cause says of a tensor is looked for among the operations that made it: an activation, the line where a dimension
got its size, the one that dropped the batch. Where the trail does not show it, nobody is blamed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from safe_ce import recording
from safe_ce.building import built_at, place_of
from safe_ce.culprits import (
    Sought,
    first,
    is_known,
    made_by,
    of_a_column,
    of_changed_values,
    of_classes,
    of_conversion,
    of_departure,
    of_dtype,
    of_either_size,
    of_fewer_dimensions,
    of_length,
    of_other_size,
    of_size,
    of_time,
    of_values,
    of_view,
)
from safe_ce.datasets import line_that_returns
from safe_ce.findings import Blame, Step
from safe_ce.frames import KINDS, Kind, line_of
from safe_ce.lineage import main_source
from safe_ce.operations import CHOOSING, FILLING, MAKING_ONE_HOT, MIXING, MOVING, SOFTMAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from safe_ce.call import Call
    from safe_ce.culprits import Search, Way
    from safe_ce.findings import Finding
    from safe_ce.frames import Place
    from safe_ce.lines import Line
    from safe_ce.recording import Operation, Recorder

DEFAULT = -100
"""The `ignore_index` of a loss that was told none."""

STEPS = 6
"""Steps of a shape's way that are shown, at most."""

OF_VALUES: dict[str, tuple[str, Search]] = {
    "softmax-applied": (
        "input",
        first(made_by(SOFTMAX), made_by(SOFTMAX | {"normalize", "log_softmax"}, MOVING | MIXING)),
    ),
    "log-softmax-applied": ("input", first(made_by(frozenset({"log_softmax"})), made_by(frozenset({"log"})))),
    "sigmoid-applied": ("input", made_by(frozenset({"sigmoid", "sigmoid_", "expit"}))),
    "relu-applied": ("input", made_by(frozenset({"relu", "relu_"}))),
    "class-ids-as-logits": ("input", made_by(CHOOSING)),
    "logits-wrong-dtype": ("input", of_dtype),
    "half-reduction-overflow": ("input", of_dtype),
    "one-hot-target": ("target", first(made_by(MAKING_ONE_HOT), of_values)),
    "target-not-normalized": ("target", of_values),
    "float-index-target": ("target", first(of_conversion, of_a_column, of_dtype)),
    "wrong-int-target": ("target", of_dtype),
    "labels-start-at-one": ("target", of_values),
    "label-out-of-range": ("target", of_changed_values),
    "ignore-index-mismatch": ("target", first(made_by(FILLING), of_values)),
    "mask-not-class-ids": ("target", of_dtype),
    "all-targets-ignored": ("target", made_by(FILLING)),
    "weight-wrong-dtype": ("weight", of_dtype),
    "weight-invalid": ("weight", of_values),
}
"""By cause: the operand whose values or dtype are at fault, and how what made them so is looked for."""

OF_SHAPES: dict[str, tuple[str, Search]] = {
    "logits-extra-dim": ("input", of_size),
    "logits-missing-batch-dim": ("input", of_fewer_dimensions),
    "target-extra-dim": ("target", of_size),
    "color-mask-target": ("target", of_size),
    "target-missing-batch-dim": ("target", of_fewer_dimensions),
    "empty-batch": ("target", of_size),
    "ragged-batch": ("input", of_either_size),
    "features-folded-into-batch": ("input", of_size),
    "class-dim-last": ("input", of_classes),
    "one-side-flattened": ("input", of_either_size),
    "time-batch-swapped": ("input", of_time),
    "sequence-length-mismatch": ("input", of_length),
    "logits-not-pooled": ("input", of_classes),
    "target-not-pooled": ("input", of_fewer_dimensions),
    "spatial-size-mismatch": ("input", first(of_departure, of_size, of_other_size)),
    "batch-duplicated": ("input", of_either_size),
    "wrong-class-count": ("input", of_classes),
    "view-instead-of-permute": ("input", of_view),
    "weight-length-mismatch": ("weight", of_size),
}
"""By cause: the operand whose shape is at fault, and how what made it so is looked for. Its way is shown step by step."""

OF_THE_LOSS = frozenset(
    [
        "binary-logits",
        "ignore-index-mismatch",
        "invalid-option",
        "multi-hot-target",
        "regression-target",
        "single-logit",
        "weight-invalid",
        "weight-length-mismatch",
        "weight-not-tensor",
        "weight-requires-grad",
        "weight-wrong-dtype",
    ]
)
"""Causes that another loss would mend, or other options of it: where no operation is to blame, the line that built it is."""


WRAPPED = frozenset({"module", "_forward_module", "_orig_mod"})
"""What torch, and Lightning's Fabric, call a model inside the one that they put around it."""


def blame_of(finding: Finding, call: Call) -> Blame | None:
    """The operation that made the mistake of a finding, or None."""
    recorder = recording.active()
    if recorder is None:
        return None
    found = OTHERWISE.get(finding.cause, _of_operand)(recorder, finding, call)
    return found or (_of_the_loss() if finding.cause in OF_THE_LOSS else None)


def _of_the_ignored(recorder: Recorder, finding: Finding, call: Call) -> Blame | None:
    """The loss where it ignores what it does by default, else what put other ids than it ignores into the target."""
    loss = None
    if call.ignored == DEFAULT:
        loss = _of_the_loss() or (None if _is_called_by_a_package() else _of_the_call())
    return loss or _of_operand(recorder, finding, call)


def is_traceable(cause: str) -> bool:
    """Whether a trail may show what made this mistake."""
    return cause in OF_VALUES or cause in OF_SHAPES or cause in OF_THE_LOSS or cause in OTHERWISE


def _of_operand(recorder: Recorder, finding: Finding, call: Call) -> Blame | None:
    """What made the tensor at fault so."""
    found = OF_VALUES.get(finding.cause) or OF_SHAPES.get(finding.cause)
    if found is None:
        return None
    name, search = found
    other = "input" if name == "target" else "target"
    marks = {operand.name: operand.marks for operand in finding.operands}
    way = search(
        Sought(
            recorder.operation_of(getattr(call, name)),
            marks.get(name, ()),
            recorder.operation_of(getattr(call, other)),
            marks.get(other, ()),
            call.earlier[-1] if call.earlier else None,
        )
    )
    if way is None or not is_known(way[0]):
        return None
    return _of_way(way, steps=finding.cause in OF_SHAPES)


def _of_way(way: Way, *, steps: bool) -> Blame | None:
    """The first operation of a way, as it is blamed."""
    culprit, scene = way[0], way[0].scene
    line = line_shown(culprit)
    if line is None:
        return None
    before = main_source(culprit) if steps else None
    called = None
    if scene.user is not None and not scene.loaded and not recording.shows_installed():
        line_that_called = line_of(scene.user)
        called = None if line_that_called.filename.startswith("<") else line_that_called
    module = None if scene.module is None else scene.module()
    built = None if module is None or _is_of_the_program(module) else built_at(module)
    if built is not None and scene.place in _running():
        line, built = built, None
    return Blame(
        filename=line.filename,
        lineno=line.lineno,
        function=line.function,
        operation=culprit.name,
        module=_path(culprit),
        source=line.source,
        before=None if before is None else tuple(before.shape),
        after=tuple(culprit.shape) if steps else None,
        called=None if called is None else (called.filename, called.lineno),
        built=None if built is None else (built.filename, built.lineno),
        steps=_steps(way) if steps else (),
    )


def line_shown(made: Operation) -> Line | None:
    """The line of the program that an operation is laid at."""
    scene = made.scene
    if scene.loaded:
        return None if scene.getter is None else line_that_returns(scene.getter)
    first, second = (scene.within, scene.place) if recording.shows_installed() else (scene.place, scene.within)
    place = first or second
    return None if place is None else line_of(place)


def _steps(way: Way) -> tuple[Step, ...]:
    """The shape's way, from where it was last right."""
    before = main_source(way[0])
    shown = [made for made in (before, *way) if made is not None and is_known(made)]
    if len(shown) > STEPS:
        shown = [*shown[: STEPS - 1], shown[-1]]
    lines = [(made, line) for made in shown if (line := line_shown(made)) is not None]
    return tuple(Step(line.filename, line.lineno, made.name, tuple(made.shape)) for made, line in lines)


def _is_of_the_program(module: nn.Module) -> bool:
    """Whether the program has written what a module does, so that it is mended there and not where it was built."""
    code = getattr(type(module).forward, "__code__", None)
    return code is not None and KINDS[code.co_filename] is Kind.PROGRAM


def _running() -> list[Place]:
    """The lines that have not ended yet. Such a line has led to the loss as well, as one that calls a trainer does."""
    places = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        places.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return places


def _is_called_by_a_package() -> bool:
    """Whether the line that calls the loss is an installed package's."""
    kinds = (KINDS[code.co_filename] for code, _ in _running())
    return next((kind for kind in kinds if kind in (Kind.PROGRAM, Kind.INSTALLED)), None) is Kind.INSTALLED


def _path(made: Operation) -> str | None:
    """The path of a module in its model, and its class."""
    module = None if made.scene.module is None else made.scene.module()
    root = None if made.scene.root is None else made.scene.root()
    if module is None or root is None:
        return None
    while not _is_of_the_program(root):
        inner = next((part for name, part in root.named_children() if name in WRAPPED), None)
        if inner is None:
            break
        root = inner
    kind = type(module).__name__
    path = next((path for path, part in root.named_modules() if part is module), "")
    return f"{path} ({kind})" if path else kind


def _of_output(recorder: Recorder, _: Finding, call: Call) -> Blame | None:
    """The line that called the model which returned something that is no tensor."""
    output = call.input
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    for part in parts:
        made = recorder.operation_of(part)
        if made is not None and made.scene.caller is not None and made.scene.root is not None:
            root, place, running = made.scene.root(), made.scene.caller, _running()
            if place in running:  # the loss is called inside the model, or a package has called them both
                root, inner = None, made.scene.place
                if inner is None or inner in running or inner[0] not in (code for code, _ in running):
                    return _of_the_call()
                place = inner
            line, name = line_of(place), None if root is None else type(root).__name__
            return Blame(line.filename, line.lineno, line.function, "forward", name, line.source)
    return None


def _of_the_call(*_: Any) -> Blame | None:
    """The line that calls the loss."""
    lines: list[Line] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None and len(lines) < 2:
        kind = KINDS[frame.f_code.co_filename]
        if kind is Kind.END or (lines and kind is Kind.MODULE):
            break
        if kind is Kind.PROGRAM:
            lines.append(line_of((frame.f_code, frame.f_lasti)))
        frame = frame.f_back
    if not lines:
        return None
    line, *users = lines
    called = (users[0].filename, users[0].lineno) if users else None
    return Blame(line.filename, line.lineno, line.function, "cross_entropy", None, line.source, called=called)


def _of_the_loss() -> Blame | None:
    """The line that built the loss which is being called."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        loss = frame.f_locals.get("self") if KINDS[frame.f_code.co_filename] is Kind.MODULE else None
        if isinstance(loss, nn.CrossEntropyLoss):
            place = place_of(loss)
            line = None if place is None or place in _running() else line_of(place)
            return line and Blame(line.filename, line.lineno, line.function, type(loss).__name__, None, line.source)
        frame = frame.f_back
    return None


OTHERWISE: dict[str, Callable[[Recorder, Finding, Call], Blame | None]] = {
    "output-not-tensor": _of_output,
    "ignore-index-mismatch": _of_the_ignored,
    "arguments-swapped": _of_the_call,
    "loss-class-called-as-function": _of_the_call,
}
"""By cause: what is blamed where it is no operation that made a tensor."""
