"""SCE201 to SCE203: one-hot, multi-hot and soft targets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from safe_ce import contract, probe
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, WARNING, Match, cause, plural
from safe_ce.causes.evidence import NORMALIZED, last_dim_sums_to_one, one_hot, zeros_and_ones
from safe_ce.repair import Repair, attempt

if TYPE_CHECKING:
    from safe_ce.call import Call, Shape


def _one_hot_dim(call: Call) -> tuple[int, Repair] | None:
    """The dimension of a rejected target along which it is one-hot, and the repair that argmax makes."""
    sizes = call.target_shape
    dims = [dim for dim, size in enumerate(sizes) if size > 1]
    for dim in sorted(dims, key=lambda dim: (sizes[dim] != call.classes, dim != call.class_dim)):
        if dim == 0 and len(sizes) > 1:
            continue
        if not one_hot(call.target_rows(dim)):
            continue
        # argmax knows neither bool nor the wider unsigned integers.
        ids = (
            "target.long()" if call.target.dtype in (torch.bool, torch.uint16, torch.uint32, torch.uint64) else "target"
        )
        for statements, shape in _ids_from_one_hot(call, dim, ids):
            repaired = attempt(call, *statements, labels="made", gives={"target": (shape, torch.int64)})
            if repaired is not None:
                # With more columns than classes the ids do not fit, but a one-hot it is.
                return dim, replace(repaired, labels_fit=sizes[dim] <= repaired.classes)
    return None


def _ids_from_one_hot(call: Call, dim: int, ids: str) -> list[tuple[tuple[str, ...], Shape]]:
    """Ways to class ids, and the shape that each gives the target."""
    argmax = f"target = {ids}.argmax({dim})"
    shape = call.target_shape[:dim] + call.target_shape[dim + 1 :]
    ways: list[tuple[tuple[str, ...], Shape]] = [
        ((argmax,), shape),
        ((argmax, "target = target.reshape(-1)"), (math.prod(shape),)),
    ]
    if len(call.shape) > 2 and call.shape[-1] == call.target_shape[dim]:
        ways.append((("input = input.movedim(-1, 1)", argmax), shape))
    return ways


@cause("SCE201", "one-hot-target", ERROR, patience=30)
def one_hot_target(call: Call) -> Match | None:
    """The target is one-hot, where class ids belong.

    What happens
        An integer one-hot raises "Expected floating point type for target with class probabilities, got Long", or
        "multi-target not supported". A float one-hot of the input's shape is accepted.
    Why it is wrong
        Native wants the id of the class itself. As class probabilities a one-hot works, but takes C times the memory,
        is slower, and switches ignore_index off.
    Example
        >>> input = torch.randn(4, 5)
        >>> target = F.one_hot(torch.tensor([3, 0, 4, 1]), 5)
    Fix
        Pass the ids: leave out the one-hot step, or undo it with argmax over its class dimension.

        >>> target = target.argmax(dim=1)
    How it is recognised, and when sound calls look alike
        Zeros and a single one along one dimension, in every row looked at; also channels last, bool, and flattened to
        N * C. A float one-hot is accepted by native: a finding of severity warning, and outside strict mode only after
        thirty looks in a row, because single batches of a mixup pipeline are one-hot too.
    """
    if not call.tensors or not call.target_shape or call.target.is_complex():
        return None
    if not call.rejected:
        if not call.same_shape or len(call.shape) < 2 or call.classes < 2:
            return None
        if not one_hot(call.target_rows(1)):
            return None
        form = (contract.index_target_shape(call.shape), torch.int64)
        repaired = attempt(call, "target = target.argmax(1)", labels="made", gives={"target": form})
        return Match(
            CERTAIN,
            "the target is a float one-hot: native takes it for class probabilities",
            (
                "every row looked at is zeros and a single one",
                f"class ids would take {call.classes} times less memory, and ignore_index would work",
                *_about_weights(call),
            ),
            "pass the class ids themselves",
            fix=None if repaired is None else repaired.fix,
            severity=WARNING,
            target_marks=(1,),
        )
    flattened = _flattened_one_hot(call)
    if flattened is not None:
        return flattened
    found = _one_hot_dim(call)
    if found is None:
        return None
    dim, repaired = found
    return Match(
        CERTAIN if call.target_shape[dim] in call.shape else LIKELY,
        f"the target is one-hot along dim {dim}: {call.target_shape} instead of class ids",
        (
            "every row looked at is zeros and a single one",
            *((f"it has {call.target_shape[dim]} classes, the logits {repaired.classes}",) * (not repaired.labels_fit)),
        ),
        "pass the class ids themselves: leave out the one-hot step, or undo it",
        fix=repaired.fix,
        odds=0.95,
        target_marks=(dim,),
    )


def _about_weights(call: Call) -> tuple[str, ...]:
    if call.weight is None or not call.averaged:
        return ()
    return ("with class weights the mean is another: of ids it divides by the sum of their weights, here by N",)


def _flattened_one_hot(call: Call) -> Match | None:
    if len(call.target_shape) != 1 or len(call.shape) != 2 or call.classes < 2:
        return None
    if call.target_shape[0] != call.shape[0] * call.classes or call.labels is None:
        return None
    if call.labels.bounds != (0, 1) or not call.labels.whole:
        return None
    with probe.unobserved():
        cut = probe.rows(call.target.reshape(call.shape), 1)
    if not one_hot(cut):
        return None
    statement = f"target = target.reshape(-1, {call.classes}).argmax(1)"
    if call.target.dtype is torch.bool:
        statement = statement.replace("target.reshape", "target.long().reshape")
    repaired = attempt(call, statement, labels="made", gives={"target": (call.shape[:1], torch.int64)})
    if repaired is None:
        return None
    return Match(
        CERTAIN,
        f"the target is a flattened one-hot: {call.target_shape[0]} values are {call.shape[0]} rows of {call.classes}",
        ("cut into rows of the number of classes, every row is zeros and a single one",),
        "pass the class ids themselves, and do not flatten a one-hot",
        fix=repaired.fix,
        odds=0.95,
        target_marks=(0,),
    )


@cause("SCE202", "multi-hot-target", ERROR)
def multi_hot_target(call: Call) -> Match | None:
    """Several classes of a row are 1: a multi-label target, which softmax cannot express.

    What happens
        Integers raise a dtype error; floats of the input's shape are accepted, and the loss never comes near 0.
    Why it is wrong
        Cross-entropy shares one unit of probability among the classes. Labels that can all be true at once are
        independent yes-or-no questions.
    Example
        >>> input = torch.randn(3, 4)
        >>> target = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    Fix
        Use nn.BCEWithLogitsLoss with the same float target. If one class per row was meant, mend the labels.

        >>> target = torch.tensor([0, 1, 3])
    How it is recognised, and when sound calls look alike
        Only zeros and ones, of the input's own shape, with two ones or more in some row. Mixed targets as of mixup have
        fractions and sum to 1.
    """
    if not call.same_shape or len(call.shape) < 2 or call.classes < 2:
        return None
    if call.rejected and call.target.is_floating_point():
        return None
    rows = call.target_rows(1)
    if rows is None or not zeros_and_ones(rows):
        return None
    with probe.unobserved():
        most = int(rows.sum(1).max())
    if most < 2 or last_dim_sums_to_one(call):
        return None
    return Match(
        LIKELY,
        f"the target marks up to {most} classes per row: it is multi-label",
        (f"only zeros and ones, and up to {most} ones in a row",),
        "use nn.BCEWithLogitsLoss with a float target of this shape",
        severity=ERROR if call.rejected else WARNING,
        odds=0.9,
        target_marks=(1,),
    )


@cause("SCE203", "target-not-normalized", WARNING)
def target_not_normalized(call: Call) -> Match | None:
    """The soft targets are no probabilities: some are negative, or rows do not sum to 1.

    What happens
        Native multiplies them with the log-probabilities and returns what comes out; it may even be negative.
    Why it is wrong
        A row that sums to 100 weighs a hundred times as much; one of zeros counts as a sample without loss.
    Example
        >>> input = torch.randn(2, 3)
        >>> target = torch.tensor([[70.0, 20.0, 10.0], [0.0, 95.0, 5.0]])
    Fix
        Normalise the rows, with softmax for scores, exp for log-probabilities, a division by the sum otherwise; mark
        padding by class ids and ignore_index, or mask a loss with reduction="none".

        >>> target = target / target.sum(1, keepdim=True)
    How it is recognised, and when sound calls look alike
        A negative entry, or a row whose sum is off by more than 0.005: the rows of a float16 teacher are off by 0.001,
        and sound. Label smoothing and mixup keep the sum at 1. Rows of zeros mask samples where no mean counts them.
    """
    if call.rejected or not call.same_shape or call.classes < 2:
        return None
    dim = call.class_dim
    rows = call.target_rows(dim)
    if rows is None:
        return None
    if len(call.shape) == 1 and (zeros_and_ones(rows) or _are_prices(call)):
        return None  # binary labels (SCE310), real numbers (SCE214)
    if last_dim_sums_to_one(call):
        return None  # the classes are last (SCE303)
    if zeros_and_ones(rows) and bool((rows.sum(1) > 1).any()):
        return None  # several classes per row (SCE202)
    with probe.unobserved():
        low, sums = rows.min().item(), rows.sum(1)
        off = ~((sums - 1).abs() <= NORMALIZED)  # NaN is off as well
        if low >= -1e-6 and not bool(off.any()):
            return None
        logs = bool((rows <= 0).all()) and bool((rows.logsumexp(1).abs() < NORMALIZED).all())
        smallest, largest = sums.min().item(), sums.max().item()
        zeros = (rows == 0).all(1)
        zero_rows = bool((~off | zeros).all())
        odd = int(off.sum())
        nan = bool(sums.isnan().any())
    if zero_rows and low >= 0 and not call.averaged and call.label_smoothing == 0:
        return None  # masked samples, which nothing counts
    fix = help = ""
    if nan:
        fact, help = "the soft targets hold NaN", "find where the NaN in the target arises"
    elif logs:
        fact, help, fix = "the target holds log-probabilities", "pass probabilities", "target = target.exp()"
    elif low < -1e-6:
        fact = f"the soft targets have negative entries, down to {low:.4g}"
        help = "probabilities are not negative: apply softmax to a teacher's scores"
        fix = f"target = target.softmax({dim})"
    elif zero_rows:
        fact = "rows of the target are all zeros, and count in the loss"
        help = 'mark padding by class ids and ignore_index, or mask a loss with reduction="none"'
    else:
        fact = f"rows of the soft targets sum to {smallest:.4g}" + (
            f" to {largest:.4g}, not to 1" if largest - smallest > NORMALIZED else ", not to 1"
        )
        help = "divide each row by its sum"
        fix = f"target = target / target.sum({dim}, keepdim=True)" if smallest > 0 and largest < math.inf else ""
    return Match(
        LIKELY,
        fact,
        (
            f"{odd} of {plural(len(sums), 'row')} looked at do not sum to 1"
            if odd
            else "every row looked at sums to 1 even so",
            "native takes a target of the input's shape for class probabilities",
        ),
        help,
        fix=fix or None,
        odds=0.6,
        target_marks=(dim,),
    )


def _are_prices(call: Call) -> bool:
    """Whether a row of probabilities is none by far: something beyond 0 to 1, or whole numbers."""
    labels = call.labels
    return labels is not None and call.shape[0] > 1 and not (labels.bounds[0] >= 0 and labels.bounds[1] <= 1)
