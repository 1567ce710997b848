"""The forms that the targets of a loader have: what each is taken for, and whether the loss can take it.

There are no logits yet. In their place stands a tensor of the shape that a model would give for such a target, all
zeros, which says nothing; so the catalogue's own causes judge the target.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from safe_ce import contract, probe
from safe_ce.auditing.batches import count_of, shown_tensor
from safe_ce.auditing.counting import HUGE, WINDOW, OneHot, Seen, is_one_hot, odd_values
from safe_ce.call import Call
from safe_ce.causes import BY_NAME
from safe_ce.causes.cause import CERTAIN, LIKELY, Match, described, dtype_name
from safe_ce.causes.evidence import NORMALIZED, zeros_and_ones
from safe_ce.diagnosis import findings_of
from safe_ce.findings import Operand

if TYPE_CHECKING:
    from safe_ce.call import Shape
    from safe_ce.findings import Finding

LABELS = ("labels-start-at-one", "label-out-of-range", "ignore-index-mismatch", "all-targets-ignored")
"""Causes that are judged when all labels are known."""


class Kind(Enum):
    """What a target holds."""

    IDS = "class ids"
    PROBABILITIES = "class probabilities"
    ONE_HOT = "one-hot integers"
    OTHER = "no classes"


@dataclass
class Form:
    """One form of the targets of a loader.

    Attributes:
        shown: The first target of this form.
        operand: The same as a report shows it, with its classes marked.
        kind: What it holds.
        dim: The dimension of the classes, where it has one.
        positions: Whether there may be a label for every step of the inputs.
        finding: Why the loss does not take it as it is, or None.
        seen: The batches that have it.
        one_hot: What was counted while it was taken for one-hot integers.
    """

    shown: str
    operand: Operand
    kind: Kind
    dim: int = 1
    positions: bool = False
    finding: Finding | None = None
    seen: Seen = field(default_factory=Seen)
    one_hot: OneHot = field(default_factory=OneHot)


def key_of(target: Any, classes: int | None) -> tuple[Any, ...]:
    """What two targets of the same form have in common.

    Args:
        target: The target of a batch.
        classes: The number of classes, where it is known.
    """
    if not isinstance(target, Tensor) or target.is_nested:
        return (type(target),)
    dims, empty = target.ndim, target.numel() == 0
    floats = target.is_floating_point()
    whole = not floats or dims == 2 or _is_whole(target)
    if dims < 2:
        return target.dtype, dims, whole, empty
    width = target.shape[1]
    last = (width if classes in (None, width) else False) if floats else width == 1
    return target.dtype, dims, last, whole, empty


def form_of(target: Any, source: Any, classes: int | None, ignored: int) -> Form:
    """What a target is, and whether the loss takes it.

    Args:
        target: The target of a batch.
        source: What a model reads first of it.
        classes: The number of classes, where it is known.
        ignored: The `ignore_index`.
    """
    if not isinstance(target, Tensor):
        logits = _zeros((count_of(target), classes or 2))
        finding = _finding(Call(logits, target, ignore_index=ignored))
        return Form(described(target), Operand("target", described(target), None), Kind.OTHER, finding=finding)
    shown, kind = shown_tensor(target), dtype_name(target)
    if target.is_nested or not probe.is_readable(target) or target.dtype not in _READABLE:
        finding = _finding(Call(_zeros((count_of(target), classes or 2), target), target))
        return Form(shown, Operand("target", kind, None), Kind.OTHER, finding=finding)
    operand = Operand("target", kind, tuple(target.shape))
    if _are_swapped(target, source):
        match = Match(
            LIKELY,
            f"the inputs are {shown_tensor(source)} and the targets {shown}: the two are swapped",
            (),
            "swap the two where the samples are made, or say which is the target: target=0",
        )
        return Form(shown, operand, Kind.OTHER, finding=as_finding("arguments-swapped", match, operand))
    guess = classes or _guessed(target)
    positions = _is_per_position(target, source)
    if classes is not None and _has_other_classes(target, classes, positions=positions):
        given = target.shape[1]
        match = Match(
            CERTAIN,
            f"the soft targets, {tuple(target.shape)}, are of {given} classes, where there are {classes}",
            (),
            "make them of as many classes as the model scores, also of those that do not occur",
        )
        operand = replace(operand, marks=(1,))
        return Form(shown, operand, Kind.PROBABILITIES, 1, positions, as_finding("contract-broken", match, operand))
    taken, dim, shape = _taken_for(target, source, classes, guess, positions=positions)
    # Of several dimensions, the values that are no numbers say nothing of the shape.
    judged = target.nan_to_num(0, 0, 0) if target.is_floating_point() and len(shape) > 2 else target
    judged = _filled(target, dim) if taken is Kind.ONE_HOT else judged
    finding = _finding(Call(_zeros(shape, target), judged, ignore_index=ignored))
    if taken is not Kind.IDS:
        operand = replace(operand, marks=(dim,))
    if finding is not None and finding.cause == "contract-broken" and taken is Kind.PROBABILITIES and dim > 1:
        match = Match(
            CERTAIN,
            f"the soft targets have their classes in dim {dim}, of {tuple(target.shape)}; the loss wants them in dim 1",
            (),
            "move them where the targets are made",
            fix="target = target.movedim(-1, 1)",
        )
        finding = as_finding("contract-broken", match, operand)
    if finding is not None and judged is not target and not bool(target.isfinite().all()):
        of_the_others = tuple(f"of the others: {fact}" for fact in finding.evidence)
        help = f"mend these values where the targets are made; then {finding.help}"
        finding = replace(finding, evidence=(odd_values(target), *of_the_others), help=help, fix=None)
    return Form(shown, operand, taken, dim, positions, finding)


def turned(form: Form, target: Tensor, classes: int | None, ignored: int) -> bool:
    """Whether a batch shows that what was taken for one-hot integers are ids of as many positions.

    The form then says so. Rows that only hold other numbers of ones leave it what it is, or make it multi-hot.
    """
    several = is_one_hot(target, form.dim, several=True) or not bool(target.any())
    if several and not form.positions and (classes == target.shape[form.dim] or form.one_hot.rows >= _ENOUGH_ROWS):
        finding = _finding(Call(_zeros(tuple(target.shape), target), target, ignore_index=ignored))
        if finding is not None and finding.cause == "multi-hot-target":
            form.finding = finding
        return False
    shape = (target.shape[0], classes or _guessed(target), *target.shape[1:])
    form.kind, form.finding = Kind.IDS, _finding(Call(_zeros(shape, target), target, ignore_index=ignored))
    form.operand = replace(form.operand, marks=())
    return True


def as_finding(cause: str, match: Match, *operands: Operand) -> Finding:
    """A finding about a loader, of which no call is at hand."""
    return replace(BY_NAME[cause].finding(Call(None, None), match), operands=operands)


def without_batch(target: Tensor, classes: int, ignored: int) -> Finding | None:
    """Why the loss does not take a single id for a batch of one row of logits."""
    return _finding(Call(_zeros((1, classes), target), target, ignore_index=ignored))


_READABLE = (
    *(*contract.FLOATS, torch.bool, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)

_ENOUGH_ROWS = 8
"""Rows with a single one after which it is no chance that they have."""

_MOST_WHOLE = 0.9
"""The share of whole numbers from which on the others are the exception."""


def are_whole(target: Tensor) -> Tensor:
    """Which values are whole numbers that may be class ids."""
    return (target == target.floor()) & (target.abs() < HUGE)


def _is_whole(target: Tensor) -> bool:
    return probe.is_readable(target) and target.dtype in _READABLE and bool(are_whole(target).all())


def _are_swapped(target: Tensor, source: Any) -> bool:
    """Whether what stands for the inputs are class ids, and for the targets images or features."""
    if not isinstance(source, Tensor) or source.is_floating_point() or source.ndim != 1 or not target.numel():
        return False
    if not target.is_floating_point() or target.ndim < 2 or len(source) != len(target):
        return False
    return not zeros_and_ones(target) and _share_of_probabilities(target, 1) < 0.1


def _filled(target: Tensor, dim: int) -> Tensor:
    """One-hot integers with the first class in the rows that have none, which are told apart."""
    filled = target.clone()
    filled.select(dim, 0).masked_fill_(target.sum(dim) == 0, 1)
    return filled


def _share_of_probabilities(target: Tensor, dim: int) -> float:
    """The share of rows along a dimension that add up to 1."""
    return ((target.sum(dim, dtype=torch.float64) - 1).abs() <= NORMALIZED).double().mean().item()


def _guessed(target: Tensor) -> int:
    """A number of classes that the labels of a target fit."""
    if not target.numel():
        return 2
    high = target.max() if target.dtype is torch.int64 else target.double().nan_to_num(nan=0.0).max()
    return int(min(max(high.item(), 1), WINDOW - 1)) + 1


def _is_per_position(target: Tensor, source: Any) -> bool:
    """Whether there may be a label for every step or pixel of the inputs."""
    if not isinstance(source, Tensor) or source.is_nested or min(source.ndim, target.ndim) < 2:
        return False
    if source.ndim == target.ndim + 1 and target.shape[1:] in (source.shape[1:-1], source.shape[2:]):
        return True
    # Of rows of features and of images the second dimension is none of steps.
    rows = source.ndim == 2 and source.is_floating_point()
    return not rows and source.ndim < 4 and source.shape[1] == target.shape[1]


def _taken_for(
    target: Tensor, source: Any, classes: int | None, guess: int, *, positions: bool
) -> tuple[Kind, int, Shape]:
    """What a target holds, the dimension of its classes, and the shape of the logits that would go with it."""
    shape = tuple(target.shape)
    if len(shape) < 2:
        return Kind.IDS, 0, (*shape, guess)
    batch, rest = shape[0], shape[1:]
    sizes = tuple(source.shape) if isinstance(source, Tensor) and not source.is_nested else ()
    tokens = sizes == shape and not source.is_floating_point()
    several = classes is not None and not positions
    if target.is_floating_point():
        dim = _class_dim(target, classes, positions=positions)
        if dim is not None:
            return Kind.PROBABILITIES, dim, (batch, shape[dim], *(rest[1:] if dim == 1 else rest[:-1]))
        if len(shape) == 2 and not positions:
            return Kind.IDS, 0, (batch, guess)
    elif not tokens and _may_be_classes(rest[0], classes, sizes, positions) and is_one_hot(target, 1, several=several):
        return Kind.ONE_HOT, 1, shape
    elif len(shape) > 2 and classes == rest[-1] and is_one_hot(target, len(rest), several=False):
        return Kind.ONE_HOT, len(rest), (batch, classes, *rest[:-1])
    if rest[0] == 1 and not tokens and not (len(sizes) > len(shape) > 2):
        return Kind.IDS, 0, (batch, guess, *rest[1:])
    if rest[-1] == 1 and rest[:-1] in (sizes[1:], sizes[1:-1], sizes[2:]):
        return Kind.IDS, 0, (batch, guess, *rest[:-1])
    if len(shape) == len(sizes) == 4 and (rest[0] in (3, 4) or rest[-1] in (3, 4)):
        dim, pixels = (1, rest[1:]) if rest[0] in (3, 4) else (3, rest[:2])
        if _is_color_mask(target.movedim(dim, 1), classes):
            return Kind.OTHER, 0, (batch, classes or 2, *pixels)
    return Kind.IDS, 0, (batch, guess, *rest)


def _is_color_mask(target: Tensor, classes: int | None) -> bool:
    """Whether masks of three or four channels are pictures, and no class ids of each channel."""
    if not target.numel() or bool((target[:, :1] == target[:, :3]).all()):
        return True
    if target.is_floating_point():  # a picture's values, of whole numbers or scaled to 1, and no scores
        return _is_whole(target) or (bool(target.amin() >= 0) and bool(target.amax() <= 1))
    if classes is not None:
        return int(target.max()) >= classes
    # Of few classes there are few colours, and an image's own values have many.
    colors = target[:, :3].long().movedim(1, -1).flatten(0, -2) @ _OF_COLORS.to(target.device)
    return int(target.max()) >= _DARKEST and len(colors.unique()) <= _MOST_COLORS


_OF_COLORS = torch.tensor([1, 2**8, 2**16], device="cpu")
"""What makes one number of a colour."""

_DARKEST = 64
"""What some channel of a palette reaches at least."""

_MOST_COLORS = 256
"""The colours of a palette, and some."""


def _has_other_classes(target: Tensor, classes: int, *, positions: bool) -> bool:
    """Whether floating-point targets are probabilities of another number of classes."""
    if not target.is_floating_point() or target.ndim < 2 or target.shape[1] in (1, classes) or not target.numel():
        return False
    if target.shape[-1] == classes or (positions and _is_whole(target)):
        return False
    return _share_of_probabilities(target, 1) > 0.5 and bool(target.amin() >= 0)


def _may_be_classes(size: int, classes: int | None, sizes: Shape, positions: bool) -> bool:
    """Whether dim 1 of integers, of a size, may be that of the classes, and not steps of inputs of some sizes."""
    return classes == size or (classes is None and not (positions and len(sizes) == 3))


def _class_dim(target: Tensor, classes: int | None, *, positions: bool) -> int | None:
    """The dimension along which floating-point targets are class probabilities, or None where they are none."""
    dims = [dim for dim in (1, target.ndim - 1) if target.shape[dim] > 1 and classes in (None, target.shape[dim])]
    if not target.numel() or not dims:
        return None
    if target.ndim == 2:
        whole = are_whole(target).double().mean().item()
        return None if positions and whole > _MOST_WHOLE and bool(target.nan_to_num().max() > 1) else 1
    for dim in dims:
        if _share_of_probabilities(target, dim) > 0.5:
            return dim
    return 1 if classes is not None and dims[0] == 1 else None


def _finding(call: Call) -> Finding | None:
    """Why the loss does not take a target, or makes nothing of it. Values that it takes are judged later."""
    refused = contract.broken_clause(call) is not None
    if not refused and call.target.numel():
        return None
    call = replace(call, rejected=refused)
    for finding in findings_of(call, ignore=LABELS):
        if finding.code.startswith("SCE2") or finding.cause in _OTHERS:
            # What an empty batch's evidence is, is the stand-in's shape.
            return finding if refused else replace(finding, evidence=())
    unexplained = BY_NAME["contract-broken"]
    match = unexplained.check(call)
    return None if match is None else unexplained.finding(call, replace(match, confidence=CERTAIN))


_OTHERS = ("invalid-option", "unsupported-layout")
"""Causes that are told although they are none of the target's values."""


def _zeros(shape: Shape, like: Tensor | None = None) -> Tensor:
    """A tensor of zeros that takes no room, where the target is: nothing else has a say where."""
    return torch.zeros((), device="cpu" if like is None else like.device).expand(shape)
