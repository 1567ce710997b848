"""Call: the record of one attempted loss call that a diagnosis reads, with what its values show."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from safe_ce import probe
from safe_ce.contract import INT64

Shape = tuple[int, ...]

DISTINCT = 64
"""Distinct label values that are told apart."""

COUNTED = 2**22
"""Labels that are counted one by one, at least, once a bad one is found."""


@dataclass(frozen=True, eq=False)
class Sent:
    """What an accelerator sent of a call's values; None for what it did not.

    Attributes:
        labels: What the class ids show, all of them.
        scores: A sample of the logits' rows, (rows, classes).
        target_rows: A sample of the class probabilities' rows, (rows, classes).
        weight: The class weights.
    """

    labels: Labels | None
    scores: Tensor | None
    target_rows: Tensor | None
    weight: Tensor | None


@dataclass(frozen=True, eq=False)
class Call:
    """One attempted loss call, or one attempted construction of the loss.

    Attributes:
        input: What was given as logits; for a construction the first argument.
        target: What was given as target; for a construction the second argument.
        weight: Class weights, or None.
        ignore_index: As native's.
        reduction: As native's.
        label_smoothing: As native's.
        earlier: The shapes of `input` and `target` in the sound calls before this one, oldest first.
        rejected: Whether native refuses the call.
        stage: Whether the loss is called or constructed.
        values: Whether values may be read; on an accelerator that is to wait for the device.
        sent: What is known of the values instead; then `input` and `target` have the call's shapes and dtypes alone.
        number: Which call of its loss it is, from 1.
    """

    input: Any
    target: Any
    weight: Any = None
    ignore_index: Any = -100
    reduction: Any = "mean"
    label_smoothing: Any = 0.0
    earlier: tuple[tuple[Shape, Shape], ...] = ()
    rejected: bool = False
    stage: Literal["call", "construction"] = "call"
    values: bool = True
    sent: Sent | None = None
    number: int | None = None

    @cached_property
    def tensors(self) -> bool:
        """Whether `input` and `target` are both tensors, with a shape and a dtype that others have too."""
        return _has_sizes(self.input) and _has_sizes(self.target)

    @cached_property
    def shape(self) -> Shape:
        """The shape of `input`; () where it has none."""
        return tuple(self.input.shape) if _has_sizes(self.input) else ()

    @cached_property
    def target_shape(self) -> Shape:
        """The shape of `target`; () where it has none."""
        return tuple(self.target.shape) if _has_sizes(self.target) else ()

    @cached_property
    def same_shape(self) -> bool:
        """Whether native takes the target for class probabilities."""
        return self.tensors and self.shape == self.target_shape

    @property
    def class_dim(self) -> int:
        """The dimension that native takes for the classes."""
        return 1 if len(self.shape) > 1 else 0

    @cached_property
    def classes(self) -> int:
        """The number of classes as native counts them; 0 where there is no class dimension."""
        return self.shape[self.class_dim] if self.shape else 0

    @cached_property
    def ignored(self) -> int | None:
        """`ignore_index` as a plain int, or None where native does not take it."""
        try:
            value = operator.index(self.ignore_index)
        except TypeError:
            return None
        return value if value in INT64 else None

    @property
    def averaged(self) -> bool:
        """Whether the loss is a mean over the targets."""
        return self.reduction in ("mean", "elementwise_mean")

    @cached_property
    def labels(self) -> Labels | None:
        """What the values of a non-empty, readable, real target show."""
        if self.sent is not None:
            return self.sent.labels
        if not self.is_readable(self.target) or not self.target.numel() or self.target.is_complex():
            return None
        return Labels(self.target, self.ignored)

    def scores(self, dim: int | None = None) -> Tensor | None:
        """A sample of the score rows along ``dim`` (the class dimension by default), or None if unreadable."""
        return self._rows("input", self.class_dim if dim is None else dim)

    def target_rows(self, dim: int) -> Tensor | None:
        """A sample of the target's rows along ``dim``, or None if unreadable."""
        return self._rows("target", dim)

    def _rows(self, name: str, dim: int) -> Tensor | None:
        if self.sent is not None:
            sent = {"input": self.sent.scores, "target": self.sent.target_rows}
            return sent[name] if dim == self.class_dim else None
        if (name, dim) not in self._samples:
            tensor = getattr(self, name)
            self._samples[name, dim] = _sample(tensor, dim) if self.is_readable(tensor) else None
        return self._samples[name, dim]

    def is_readable(self, tensor: Any) -> bool:
        """Whether a tensor's values may be read here."""
        sent = self.sent is not None and tensor is self.sent.weight
        return (self.values or sent) and probe.is_readable(tensor)

    @cached_property
    def _samples(self) -> dict[tuple[str, int], Tensor | None]:
        return {}


def _has_sizes(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_nested and not value.is_quantized


def _sample(tensor: Any, dim: int) -> Tensor | None:
    if not tensor.numel() or tensor.is_complex() or dim >= tensor.ndim:
        return None
    if tensor.shape[dim] > probe.PIECE:
        return None  # no row of classes is that long, and one alone would not be a bounded look
    with probe.unobserved():
        return probe.rows(tensor, dim)


class Labels:
    """What the values of a target show. Everything is read where it has to be, a sample elsewhere."""

    def __init__(self, target: Tensor, ignored: int | None) -> None:
        self._target = target
        self._ignored = ignored
        self._bad: dict[int, Bad] = {}

    @classmethod
    def summarised(
        cls, sample: Tensor, ignored: int | None, classes: int, summary: tuple[int, ...], total: int
    ) -> Labels:
        """Labels of which a sample is at hand and the rest is told.

        Args:
            sample: Some of them.
            ignored: The `ignore_index`.
            classes: How many classes there are.
            summary: The bounds of all labels and of those that count, how many count, and how many are bad.
            total: How many there are.
        """
        low, high, lowest, highest, counted, wrong = summary
        labels = cls(sample, ignored)
        labels.__dict__["bounds"] = (low, high)
        labels.__dict__["kept"] = (lowest, highest) if counted else None
        told = {lowest, highest, *map(int, labels.distinct)} if wrong else set()
        shown = sorted(value for value in told if not 0 <= value < classes and value != ignored)
        labels._bad[classes] = Bad(wrong, total, tuple(shown), ())
        return labels

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The smallest and largest value of the whole target; NaN where there is one."""
        with probe.unobserved():
            return probe.extremes(self._target)

    @cached_property
    def _sampled(self) -> Tensor:
        with probe.unobserved():
            part = probe.thinned(self._target).reshape(-1)
            return part.double() if part.is_floating_point() else part.to(torch.int64)

    @cached_property
    def whole(self) -> bool:
        """Whether every sampled value is a whole number, and all are finite."""
        if not (math.isfinite(self.bounds[0]) and math.isfinite(self.bounds[1])):
            return False
        with probe.unobserved():
            part = self._sampled
            return not part.is_floating_point() or bool((part == part.floor()).all())

    @cached_property
    def distinct(self) -> tuple[float, ...]:
        """The distinct values, sorted, `DISTINCT` at most; the bounds are always among them."""
        with probe.unobserved():
            found = self._sampled.unique().tolist()
        low, high = self.bounds
        if math.isnan(low):
            return tuple(found[:DISTINCT])
        kept = sorted({*found[: DISTINCT - 1], low, high})
        return tuple(int(value) if value == int(value) else value for value in kept if math.isfinite(value))

    @property
    def few(self) -> bool:
        """Whether `distinct` holds them all."""
        return len(self.distinct) < DISTINCT - 1

    @cached_property
    def kept(self) -> tuple[float, float] | None:
        """The bounds of the values that are not `ignore_index`, or None where all are."""
        low, high = self.bounds
        if self._ignored is None or not low <= self._ignored <= high:
            return low, high
        found: tuple[float, float] | None = None
        with probe.unobserved():
            for piece in probe.pieces(self._target):
                part = piece[piece != self._ignored]
                if part.numel():
                    smallest, largest = probe.extremes(part)
                    found = (smallest, largest) if found is None else (min(found[0], smallest), max(found[1], largest))
        return found

    def fit(self, classes: int) -> bool:
        """Whether every value is a class id in ``range(classes)`` or `ignore_index`."""
        if not self.whole:
            return False
        return self.kept is None or (self.kept[0] >= 0 and self.kept[1] < classes)

    def share(self, value: float) -> float:
        """The share of a value among those sampled."""
        with probe.unobserved():
            return (self._sampled == value).double().mean().item()

    def bad(self, classes: int) -> Bad:
        """The values that are neither in ``range(classes)`` nor `ignore_index`."""
        if classes not in self._bad:
            self._bad[classes] = self._count_bad(classes)
        return self._bad[classes]

    def _count_bad(self, classes: int) -> Bad:
        count = read = 0
        examples: list[tuple[int, int]] = []
        values: set[int] = set()
        with probe.unobserved():
            offset = 0
            for piece in probe.pieces(self._target):
                low, high = (bound.item() for bound in torch.aminmax(piece))
                if low < 0 or high >= classes:
                    wrong = ((piece < 0) | (piece >= classes)).reshape(-1)
                    if self._ignored is not None:
                        wrong &= piece.reshape(-1) != self._ignored
                    where = wrong.nonzero().reshape(-1)
                    count += where.numel()
                    if where.numel():
                        found = piece.reshape(-1)[where]
                        if len(values) < DISTINCT:
                            values.update(int(value) for value in found[:PER_PIECE].unique().tolist())
                        if len(examples) < 3:
                            examples += [
                                (offset + int(at), int(value))
                                for at, value in zip(where[:3].tolist(), found[:3].tolist(), strict=True)
                            ]
                offset += piece.numel()
                read += piece.numel()
                if read >= COUNTED and count:
                    break
        plain = self._target.is_contiguous()
        places = tuple((_place(at, self._target.shape), value) for at, value in examples[:3]) if plain else ()
        return Bad(count, read, tuple(sorted(values)), places)


PER_PIECE = 4096


@dataclass(frozen=True)
class Bad:
    """Label values that no class has: how many of how many that were read, which, and where the first ones are."""

    count: int
    total: int
    values: tuple[int, ...]
    places: tuple[tuple[Shape, int], ...]


def _place(flat: int, shape: torch.Size) -> Shape:
    index = []
    for size in reversed(shape):
        index.append(flat % size)
        flat //= size
    return tuple(reversed(index))


def labels_in_range(call: Call) -> bool:
    """Whether the class ids of a call that meets the contract are ids that native knows.

    True as well where values cannot be read, and where the target holds probabilities.
    """
    if call.same_shape or call.labels is None:
        return True
    return call.labels.fit(call.classes)
