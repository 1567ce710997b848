"""The guard under torch.compile: an operator that the compiler leaves in its graph, where the values are.

Imported by the tracer, while it traces a call. There the operator's fake kernel sees shapes, and raises the report of a
call that they break; in compiled code its real kernel looks at values, as the guard does elsewhere.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._dynamo.symbolic_convert import InstructionTranslator

from safe_ce import contract, guard, modes, probe
from safe_ce.findings import SafeCrossEntropyError
from safe_ce.memory import LOSSES, Memory
from safe_ce.settings import Caller, active

if TYPE_CHECKING:
    from safe_ce.modes import Mode

torch.compiler.allow_in_graph(contract.alone)

_LIBRARY = torch.library.Library("safe_ce", "DEF")
# An operator without a result or an effect would be dropped: this one is declared to change `kept`.
_LIBRARY.define(
    "look(Tensor input, Tensor target, Tensor? weight, SymInt ignore_index, str reduction, float label_smoothing,"
    " str own_mode, str own_probe, str ignore, int graph, int loss, Tensor(a!) kept) -> ()"
)

_TELLS_EXPORTS = hasattr(torch.compiler, "is_exporting")
"""Whether this release of torch tells an export from a compilation; where it does not, both get native's call alone."""


PATCHED = Caller()
"""Who calls native's own function: how that is guarded is asked when the compiled code runs."""

_WHOEVER = 1
"""What the graph has for that in the place of a loss's id."""


def guarded(
    owner: Any,
    native: Any,
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: Any,
    reduction: Any,
    label_smoothing: Any,
) -> Tensor:
    """Leave native's call in the graph that is being traced, and the operator before it.

    The operator is not left where a graph is exported, which must run without this package, nor for what native refuses
    by its type, nor for subclasses of tensors.
    """
    plain = type(input) in (Tensor, nn.Parameter) and type(target) in (Tensor, nn.Parameter)
    typed = isinstance(ignore_index, int) and isinstance(reduction, str) and isinstance(label_smoothing, (int, float))
    patched = owner is PATCHED
    graph = _place(owner.mode, patched) if plain and typed and _TELLS_EXPORTS else 0
    if graph:
        torch.ops.safe_ce.look(
            input,
            target,
            weight,
            ignore_index,
            reduction,
            label_smoothing,
            owner.mode or "",
            owner.probe or "",
            ",".join(owner.ignore),
            graph,
            # The id of a loss is one more thing that a graph would hold only for: it is asked for in need alone.
            _WHOEVER if patched else id(owner) if owner.on_finding is not None and isinstance(owner, nn.Module) else 0,
            _kept_on(input.device.type, input.device.index),
        )
    loss: Tensor = native(
        input,
        target,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return loss


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _place(own_mode: Mode | None, patched: bool) -> int:
    """A number for this tracing of this place in the program; 0 for no operator there.

    That is in mode off, where native's function is guarded no more, in a graph that is exported, and in the body of a
    higher-order operator, a condition or a loop say, which may change nothing.
    """
    tracer: Any = InstructionTranslator.current_tx()
    if patched and active() is None:
        return 0
    if (own_mode or modes.process) == "off" or torch.compiler.is_exporting() or tracer.output.current_tracer.parent:
        return 0
    frames = []
    while tracer is not None:
        frames.append(f"{tracer.f_code.co_filename}:{tracer.lineno}")
        tracer = tracer.parent
    place = "\n".join(frames)
    _tracings[place] += 1
    # The same in every run of the program: the compiler's caches on disk have it in their keys.
    return 1 + zlib.crc32(f"{place}\n{_tracings[place]}".encode())


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _kept_on(device: str, index: int | None) -> Tensor:
    """What the operator is declared to change, on a device."""
    place = torch.device(device) if index is None else torch.device(device, index)
    if place not in _kept:
        _kept[place] = torch.zeros(1, device=place)
    return _kept[place]


_kept: dict[torch.device, Tensor] = {}
_tracings: Counter[str] = Counter()
_memories: defaultdict[int, Memory] = defaultdict(Memory)
"""What the calls in compiled graphs remember, by `_place`. A graph may serve many losses."""


def _real(*arguments: Any) -> None:
    *call, own_mode, own_probe, ignore, graph, loss, _ = arguments
    mode = modes.in_force(own_mode or None)
    if mode == "off":
        return
    owner: Any = LOSSES.get(loss)
    memory = _memories[graph] if owner is None else owner._memory or owner._begin()
    if loss == _WHOEVER:
        owner = active()
        if owner is None:
            return
    elif owner is None:
        owner = Caller(None, own_probe or None, tuple(ignore.split(",")) if ignore else ())
    try:
        guard.look(memory, mode, owner, tuple(call))
    except SafeCrossEntropyError as error:
        raise error.with_traceback(None) from None


def _fake(*arguments: Any) -> None:
    input, target, weight, *options = arguments[:6]
    own_mode, _, ignore = arguments[6:9]
    if modes.in_force(own_mode or None) == "off":
        return
    try:
        if not contract.is_broken(input, target, options[0]):
            return
        with probe.hidden():
            tensors = [None if tensor is None else _stand_in(tensor) for tensor in (input, target, weight)]
    except Exception:  # sizes that only values tell: native, traced next, says what it can do with them
        return
    from safe_ce import verdict

    owner = Caller(None, "never", tuple(ignore.split(",")) if ignore else ())
    try:
        verdict.of_broken(Memory(), guard.settings("default", owner), (*tensors, *options))
    except SafeCrossEntropyError as error:
        # Of the classes that ours is of, the tracer takes one for a reason to trace in parts.
        raise ValueError(str(error)) from None


def _stand_in(tensor: Tensor) -> Tensor:
    return torch.zeros(1, dtype=tensor.dtype).expand([int(size) for size in tensor.shape])


_LIBRARY.impl("look", _real, "CompositeExplicitAutograd")
_LIBRARY.impl("look", lambda *_: None, "FuncTorchBatched")  # under vmap no value is read
torch.library.register_fake("safe_ce::look", _fake, lib=_LIBRARY)
