"""What several checks ask of a call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from safe_ce import contract, probe, provenance

if TYPE_CHECKING:
    from torch import Tensor

    from safe_ce.call import Bad, Call, Shape
    from safe_ce.repair import Form

NORMALIZED = 5e-3
"""How far from 1 a row of class probabilities may sum: a float16 teacher's rows are off by 1e-3."""


def zeros_and_ones(rows: Tensor) -> bool:
    """Whether there is nothing else."""
    with probe.unobserved():
        return bool(((rows == 0) | (rows == 1)).all())


def one_hot(rows: Tensor | None) -> bool:
    """Whether every row holds zeros and a single one."""
    if rows is None or not zeros_and_ones(rows):
        return False
    with probe.unobserved():
        return bool((rows.sum(1) == 1).all())


def sums_to_one(rows: Tensor | None) -> bool:
    """Whether every row is a distribution."""
    if rows is None:
        return False
    with probe.unobserved():
        return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() <= NORMALIZED).all())


def last_dim_sums_to_one(call: Call) -> bool:
    """Whether a target of three dimensions or more sums to 1 along the last one."""
    rows = call.target_rows(len(call.target_shape) - 1) if len(call.target_shape) > 2 else None
    if rows is None:
        return False
    with probe.unobserved():
        return bool(((rows.sum(1) - 1).abs() <= NORMALIZED).all())


def row_counts(call: Call) -> tuple[int, int] | None:
    """The rows of 2-d logits and of a 1-d target that are not equally many, both at least 1, else None."""
    if not call.tensors or not call.rejected or len(call.shape) != 2:
        return None
    target = call.target_shape
    flat = target[:1] if len(target) == 2 and target[1] == 1 else target  # (M, 1) counts M rows as well
    if len(flat) == 2 and flat[1] == call.classes and _may_be_probabilities(call):
        flat = flat[:1]
    if len(flat) != 1 or flat[0] == call.shape[0] or 0 in (flat[0], call.shape[0]):
        return None
    return call.shape[0], flat[0]


def _may_be_probabilities(call: Call) -> bool:
    """Whether a target holds class probabilities, or a one-hot of whatever dtype."""
    return call.target.is_floating_point() or (call.labels is not None and call.labels.bounds == (0, 1))


def flattened_from(call: Call) -> Shape | None:
    """The shape (N, ..., C) that 2-d logits were flattened from, or None."""
    before = provenance.viewed_from(call.input)
    return before if before is not None and len(before) > 2 and before[-1] == call.classes else None


def some_are_ignored(call: Call) -> bool:
    """Whether the target holds a negative `ignore_index`, as the labels of tokens do."""
    labels = call.labels
    return labels is not None and call.ignored is not None and labels.bounds[0] <= call.ignored < 0


def length_evidence(call: Call, rows: int, targets: int) -> float:
    """How much two row counts look like token counts of one batch of sequences; 0 for not at all."""
    tokens = flattened_from(call) if len(call.shape) == 2 else None
    if tokens is not None and len(tokens) == 3:
        return 0.85 if targets % tokens[0] == 0 and targets // tokens[0] > 1 else 0.4
    batch = math.gcd(rows, targets)
    if batch == 1 or min(rows, targets) == batch:
        # One divides the other, or neither shares anything; many ids are tokens even so.
        many = batch == 1 and min(rows, targets) > 100
        return 0.55 if many and (call.classes >= 1000 or some_are_ignored(call)) else 0.0
    steps = sorted((rows // batch, targets // batch))
    odds = 0.35
    if steps[1] - steps[0] == 1 and steps[0] >= 8:
        odds = 0.7  # a shift by one
    elif max(rows, targets) >= 512 or call.classes >= 1000 or some_are_ignored(call):
        odds = 0.65
    return odds


def has_id_shape(call: Call) -> bool:
    """Whether the call's shapes are those of logits and class ids, up to stray dimensions of size 1."""
    if not call.tensors or not call.shape or call.same_shape:
        return False
    wanted = contract.index_target_shape(call.shape)
    return [s for s in call.target_shape if s != 1] == [s for s in wanted if s != 1]


def class_id_form(call: Call) -> dict[str, Form]:
    """That a statement makes the target int64 in the shape that it has."""
    return {"target": (call.target_shape, torch.int64)}


def bad_ids(call: Call) -> Bad | None:
    """The ids out of range of a rejected call that holds whole-number labels, or None."""
    labels = call.labels
    if not call.rejected or labels is None or not has_id_shape(call) or not call.classes or call.classes == 1:
        return None
    if not labels.whole or labels.fit(call.classes) or not all(map(math.isfinite, labels.bounds)):
        return None
    found = labels.bad(call.classes)
    return found if found.count else None


def places_of(bad: Bad) -> str:
    """``"7 at [3], 9 at [5]"``, for a note."""
    return ", ".join(f"{value} at {list(place)}" for place, value in bad.places)


def fractions_of(call: Call) -> tuple[float, ...]:
    """The distinct target values that are finite and no whole numbers."""
    values = () if call.labels is None else call.labels.distinct
    return tuple(value for value in values if math.isfinite(value) and value != int(value))
