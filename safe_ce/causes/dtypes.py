"""SCE207, SCE208 and SCE214: the target has the shape of class ids, and the dtype of something else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from safe_ce import contract, probe
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, WARNING, Match, cause, dtype_name, listed, plural
from safe_ce.causes.evidence import class_id_form, fractions_of, has_id_shape
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call
    from safe_ce.findings import Confidence
    from safe_ce.repair import Repair


def _not_finite(target: Tensor) -> int:
    """How many values of a readable floating-point target are NaN or infinite."""
    with probe.unobserved():
        return sum(int((~piece.float().isfinite()).sum()) for piece in probe.pieces(target))


@cause("SCE207", "float-index-target", ERROR)
def float_index_target(call: Call) -> Match | None:
    """The class ids are stored as floating point.

    What happens
        RuntimeError: expected target dtype to be Long or Byte, but got Float.
    Why it is wrong
        Native tells ids from class probabilities by shape, and ids must be integers: float32 cannot even hold every
        integer above 16,777,216.
    Example
        >>> input = torch.randn(4, 10)
        >>> target = torch.tensor([3.0, 0.0, 9.0, 1.0])
    Fix
        Cast the target to int64, best where it is read: target.long().

        >>> target = target.long()
    How it is recognised, and when sound calls look alike
        A floating-point target of the shape of class ids, all of whose values are whole numbers, but for NaN where
        labels are missing. With fractions it is a regression target (SCE214).
    """
    if not call.tensors or not call.rejected or not call.target.is_floating_point() or not has_id_shape(call):
        return None
    labels = call.labels
    odd = 0 if labels is None else _not_finite(call.target)
    if labels is not None and not labels.whole and (not odd or fractions_of(call)):
        return None
    repaired = attempt(call, "target = target.long()", gives=class_id_form(call))
    if repaired is None:
        return None
    if labels is None:
        return _cast(call, repaired, LIKELY, ("a target of this shape must hold class ids",), odds=0.6)
    if odd:
        return Match(
            LIKELY,
            f"the class ids are {dtype_name(call.target)} with NaN or inf among them; native wants int64",
            (f"{odd} of {plural(call.target.numel(), 'label')} not finite, as a table's missing entries are read",),
            "drop the samples without a label or give them the ignore_index, then cast the target: target.long()",
            odds=0.8,
        )
    low, high = labels.bounds
    evidence = (f"every value looked at is a whole number, from {low:g} to {high:g}",)
    return _cast(call, repaired, CERTAIN if repaired.labels_fit else POSSIBLE, evidence, odds=0.8)


def _cast(call: Call, repaired: Repair, confidence: Confidence, evidence: tuple[str, ...], *, odds: float) -> Match:
    """The match for class ids that a cast to int64 mends."""
    return Match(
        confidence,
        f"the class ids are {dtype_name(call.target)}; native wants int64",
        evidence,
        "cast the target where it is read: target.long()",
        fix=repaired.fix,
        odds=odds,
    )


@cause("SCE208", "wrong-int-target", ERROR)
def wrong_int_target(call: Call) -> Match | None:
    """The class ids are integers of a dtype that native does not take.

    What happens
        RuntimeError: expected target dtype to be Long or Byte, but got Int.
    Why it is wrong
        Class ids are int64. NumPy on Windows makes int32, masks are read as uint8, comparisons make bool. uint8 is
        taken for targets of one dimension only, and not on every backend.
    Example
        >>> input = torch.randn(4, 10)
        >>> target = torch.tensor([3, 0, 9, 1], dtype=torch.int32)
    Fix
        Cast the target to int64: target.long().

        >>> target = target.long()
    How it is recognised, and when sound calls look alike
        int8, int16, int32, unsigned or bool ids of the right shape and range. uint8 ids of shape (N,) are sound.
    """
    if not call.tensors or not call.rejected or not has_id_shape(call) or call.input.dtype not in contract.FLOATS:
        return None
    dtype, labels = call.target.dtype, call.labels
    if dtype is torch.int64 or dtype.is_floating_point or dtype.is_complex:
        return None
    if labels is not None and not labels.fit(call.classes) and contract.broken_clause(call) is None:
        return None  # uint8 is accepted here: it is the values that are not
    repaired = attempt(call, "target = target.long()", gives=class_id_form(call))
    if repaired is None:
        return None
    rank = contract.index_target_shape(call.shape) == call.target_shape
    evidence = ("the shapes fit; only the dtype of the target does not",) if rank else ()
    confidence = CERTAIN if repaired.labels_fit is not False and rank else POSSIBLE
    return _cast(call, repaired, confidence, evidence, odds=0.85)


@cause("SCE214", "regression-target", ERROR)
def regression_target(call: Call) -> Match | None:
    """The targets are real numbers, not classes.

    What happens
        RuntimeError: expected target dtype to be Long or Byte, but got Float.
    Why it is wrong
        Prices, ratings and temperatures are points on a line; cross-entropy picks one of several classes.
    Example
        >>> input = torch.randn(4, 2)
        >>> target = torch.tensor([5.0, 3.8, 2.6, 4.25])
    Fix
        Give the model one output and use a regression loss, nn.MSELoss or nn.L1Loss; or cut the range into classes.

        >>> target = torch.tensor([1, 1, 0, 1])
    How it is recognised, and when sound calls look alike
        A floating-point target of the shape of class ids that has fractions, or one per score of shape (N,), beyond 0
        to 1, which native accepts (a finding of severity warning). Whole numbers are ids in the wrong dtype (SCE207),
        and floats of the input's own shape are class probabilities.
    """
    labels = call.labels
    if labels is None or not call.tensors or labels.whole or not call.target.is_floating_point():
        return None
    fractions = fractions_of(call)
    if not fractions:
        return None  # ids with NaN among them
    low, high = labels.bounds
    one_each = call.same_shape and len(call.shape) == 1 and call.shape[0] > 1 and not call.rejected
    if one_each:
        # An unbatched call with class probabilities is sound; with prices it is a model of one output.
        if low >= 0 and high <= 1:
            return None
    elif not call.rejected or not has_id_shape(call):
        return None
    return Match(
        LIKELY,
        "the target holds real numbers"
        + (f", from {low:g} to {high:g}" if math.isfinite(low) and math.isfinite(high) else "")
        + ", not class ids",
        (f"values with fractions: {listed(tuple(f'{value:g}' for value in fractions), 4)}",),
        "for real-valued targets use a regression loss such as nn.MSELoss; for classes pass integer ids",
        severity=WARNING if one_each else ERROR,
        odds=0.7,
    )
