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
from safe_ce.auditing.batches import shown_tensor
from safe_ce.auditing.counting import WINDOW, Seen, is_one_hot
from safe_ce.call import Call
from safe_ce.causes import BY_NAME
from safe_ce.causes.cause import CERTAIN, described
from safe_ce.causes.evidence import NORMALIZED
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
        shape: Its shape.
        kind: What it holds.
        dim: The dimension of the classes, where it has one.
        several: Whether several ones in a row are no surprise.
        finding: Why the loss does not take it as it is, or None.
        seen: The batches that have it.
    """

    shown: str
    shape: Shape
    kind: Kind
    dim: int = 1
    several: bool = False
    finding: Finding | None = None
    seen: Seen = field(default_factory=Seen)

    @property
    def operand(self) -> Operand:
        """The target as a report shows it, with its classes marked."""
        return Operand("target", self.shown.split()[0], self.shape, (self.dim,))


def key_of(target: Any) -> tuple[Any, ...]:
    """What two targets of the same form have in common."""
    if not isinstance(target, Tensor) or target.is_nested:
        return (type(target),)
    dims = target.ndim
    if dims < 2:
        return target.dtype, dims, target.numel() == 0
    last = target.shape[1] if target.dtype.is_floating_point else target.shape[1] == 1
    return target.dtype, dims, last, target.numel() == 0


def form_of(target: Any, source: Any, classes: int | None, ignored: int) -> Form:
    """What a target is, and whether the loss takes it.

    Args:
        target: The target of a batch.
        source: What a model reads first of it.
        classes: The number of classes, where it is known.
        ignored: The `ignore_index`.
    """
    if not isinstance(target, Tensor):
        logits = _zeros((len(target) if hasattr(target, "__len__") else 1, classes or 2))
        return Form(described(target), (), Kind.OTHER, finding=_finding(Call(logits, target, ignore_index=ignored)))
    shown = shown_tensor(target)
    if not probe.is_readable(target) or target.is_complex() or target.dtype not in _READABLE:
        return Form(
            shown, _shape(target), Kind.OTHER, finding=_finding(Call(_zeros((len(target), classes or 2)), target))
        )
    guess = classes or _guessed(target)
    several = classes is not None and not _is_per_position(target, source)
    kind, dim, shape = _taken_for(target, source, classes, guess, several=several)
    finding = _finding(Call(_zeros(shape), target, ignore_index=ignored))
    return Form(shown, tuple(target.shape), kind, dim, several, finding)


_READABLE = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)


def _shape(target: Tensor) -> Shape:
    return () if target.is_nested else tuple(target.shape)


def _guessed(target: Tensor) -> int:
    """A number of classes that the labels of a target fit."""
    if not target.numel():
        return 2
    high = target.double().max().item() if target.dtype is not torch.int64 else target.max().item()
    return int(min(max(high, 1), WINDOW - 1)) + 1 if high == high else 2  # noqa: PLR0124 - not NaN


def _is_per_position(target: Tensor, source: Any) -> bool:
    """Whether there may be a label for every step of the inputs."""
    return isinstance(source, Tensor) and not source.is_nested and source.shape[1:2] == target.shape[1:2] != ()


def _taken_for(
    target: Tensor, source: Any, classes: int | None, guess: int, *, several: bool
) -> tuple[Kind, int, Shape]:
    """What a target holds, the dimension of its classes, and the shape of the logits that would go with it."""
    shape = tuple(target.shape)
    if len(shape) < 2:
        return Kind.IDS, 0, (*shape, guess)
    batch, rest = shape[0], shape[1:]
    sizes = tuple(source.shape) if isinstance(source, Tensor) and not source.is_nested else ()
    per_position = _is_per_position(target, source)
    tokens = sizes == shape and not source.is_floating_point()
    if target.is_floating_point():
        dim = _class_dim(target, classes, per_position=per_position)
        if dim is not None:
            return Kind.PROBABILITIES, dim, shape
        if len(shape) == 2 and not per_position:
            return Kind.IDS, 0, (batch, guess)
    elif not tokens and classes in (None, rest[0]) and is_one_hot(target, 1, several=several):
        return Kind.ONE_HOT, 1, shape
    elif len(shape) > 2 and classes == rest[-1] and is_one_hot(target, len(rest), several=False):
        return Kind.ONE_HOT, len(rest), (batch, classes, *rest[:-1])
    if rest[0] == 1 and not tokens and not (len(sizes) > len(shape) > 2):
        return Kind.IDS, 0, (batch, guess, *rest[1:])
    if len(shape) == len(sizes) == 4 and (rest[0] in (3, 4) or rest[-1] in (3, 4)):
        pixels = rest[1:] if rest[0] in (3, 4) else rest[:2]
        return Kind.OTHER, 0, (batch, classes or 2, *pixels)
    return Kind.IDS, 0, (batch, guess, *rest)


def _class_dim(target: Tensor, classes: int | None, *, per_position: bool) -> int | None:
    """The dimension along which floating-point targets are class probabilities, or None where they are none."""
    dims = [dim for dim in (1, target.ndim - 1) if target.shape[dim] > 1 and classes in (None, target.shape[dim])]
    if not target.numel() or not dims:
        return None
    if target.ndim == 2:
        ids = per_position and bool((target == target.floor()).all()) and bool(target.max() > 1)
        return None if classes is None and ids else 1
    for dim in dims:
        sums = target.sum(dim, dtype=torch.float64)
        if bool(((sums - 1).abs() <= NORMALIZED).double().mean() > 0.5):
            return dim
    return 1 if classes is not None and dims[0] == 1 else None


def _finding(call: Call) -> Finding | None:
    """Why the loss does not take a target, or makes nothing of it. Values that it takes are judged later."""
    refused = contract.broken_clause(call) is not None
    if not refused and call.target.numel():
        return None
    call = replace(call, rejected=refused)
    for finding in findings_of(call, ignore=LABELS):
        if finding.code.startswith("SCE2") or finding.cause == "invalid-option":
            # What an empty batch's evidence is, is the stand-in's shape.
            return finding if refused else replace(finding, evidence=())
    unexplained = BY_NAME["contract-broken"]
    match = unexplained.check(call)
    return None if match is None else unexplained.finding(call, replace(match, confidence=CERTAIN))


def _zeros(shape: Shape) -> Tensor:
    return torch.zeros(()).expand(shape)
