"""SCE310, SCE311 and SCE313: the input is not one score per class of the target."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from safe_ce import contract, probe, provenance
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, WARNING, Match, cause, plural
from safe_ce.causes.evidence import sums_to_one
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call


@cause("SCE310", "binary-logits", ERROR)
def binary_logits(call: Call) -> Match | None:
    """One score per sample against one label per sample: a binary task, and another loss's job.

    What happens
        With float labels nothing is raised: native takes the batch for a single row of N classes. Integer labels raise.
    Why it is wrong
        The softmax runs over the batch, so samples compete with each other.
    Example
        >>> input = torch.tensor([2.0, -1.0, 3.0, -2.0])
        >>> target = torch.tensor([1.0, 0.0, 1.0, 0.0])
    Fix
        Use nn.BCEWithLogitsLoss with these scores and float labels; or give the model two outputs and use integer ids.

        >>> input, target = torch.randn(4, 2), target.long()
    How it is recognised, and when sound calls look alike
        Input and target are both (N,), or the target is (N, 1), and the target is no distribution. A float target that is non-negative and sums
        to 1 is a sound unbatched call.
    """
    if not call.tensors or len(call.shape) != 1 or call.input.dtype not in contract.FLOATS:
        return None
    if not call.same_shape and not (call.rejected and call.target_shape == (*call.shape, 1)):
        return None
    labels = call.labels
    if labels is None or call.shape[0] < 2:
        return None
    if call.target.is_floating_point():
        if sums_to_one(call.target_rows(0)):
            return None
        low, high = labels.bounds
        if not labels.whole or not (math.isfinite(low) and math.isfinite(high)):
            return None  # no labels of anything: SCE203
        if (low < 0 or high > 1) and not call.rejected:
            return _scores_of_one_output(call, high)
    binary = labels.whole and labels.bounds[0] >= 0 and labels.bounds[1] <= 1
    if call.target.is_floating_point() is False and not binary:
        return _scores_of_one_output(call, labels.bounds[1])
    return Match(
        LIKELY,
        f"{call.shape[0]} scores against {call.shape[0]} labels of 0 and 1: a binary task",
        (
            "native takes equal shapes for class probabilities, and one dimension for one sample:"
            f" the softmax would run over the {call.shape[0]} samples",
        ),
        "use nn.BCEWithLogitsLoss with float labels, or give the model two outputs and pass integer ids",
        odds=0.8,
        input_marks=(0,),
        target_marks=(0,),
    )


def _scores_of_one_output(call: Call, high: float) -> Match:
    return Match(
        LIKELY,
        f"one score per sample against labels up to {int(high)}: the input has no class dimension",
        (f"native takes the batch for one row of {call.shape[0]} classes",),
        (f"give the model {int(high) + 1} outputs, one per class; " if high > 0 else "")
        + "for an ordered quantity use a regression loss",
        odds=0.65,
        input_marks=(0,),
    )


@cause("SCE311", "arguments-swapped", ERROR)
def arguments_swapped(call: Call) -> Match | None:
    """The target was passed first and the logits second.

    What happens
        A dtype error or a shape error; nothing at all with soft targets.
    Why it is wrong
        The order is criterion(input, target), the reverse of scikit-learn's metrics and of Keras.
    Example
        >>> input = torch.tensor([3, 0, 9, 1])
        >>> target = torch.randn(4, 10)
    Fix
        Exchange the arguments: criterion(logits, target).

        >>> input, target = target, input
    How it is recognised, and when sound calls look alike
        Exchanged, the call meets the contract and the ids are in range. With soft targets: the input's rows are a
        distribution and the target's are not, with negative scores among them (likely).
    """
    if not call.tensors:
        return None
    exchanged = "input, target = target, input"
    if call.same_shape:
        if not call.target.is_floating_point() or not call.input.is_floating_point() or call.rejected:
            return None
        rows = call.target_rows(call.class_dim)
        if rows is None or not sums_to_one(call.scores()) or sums_to_one(rows):
            return None
        with probe.unobserved():
            negative = bool((rows < 0).any())
        if not negative or call.input.requires_grad:
            return None
        return Match(
            LIKELY,
            "the arguments are swapped: the input is a distribution, the target holds scores",
            ("every row of the input sums to 1; the target has negative entries",),
            "the order is criterion(input, target): logits first",
            fix=exchanged,
            odds=0.9,
        )
    if not call.rejected or not call.target.is_floating_point():
        return None
    if call.input.is_floating_point() and (call.input.requires_grad or not call.target.requires_grad):
        return None
    repaired = attempt_exchanged(call)
    if repaired is None:
        return None
    return Match(
        CERTAIN if not call.input.is_floating_point() else LIKELY,
        f"the arguments are swapped: ids {call.shape} came first, scores {call.target_shape} second",
        ("exchanged, they meet native's contract",),
        "the order is criterion(input, target): logits first",
        fix=repaired,
        odds=0.95,
    )


def attempt_exchanged(call: Call) -> str | None:
    """The statements that exchange the arguments of a call and give one that native accepts, or None."""
    other = replace(call, input=call.target, target=call.input)
    rows = other.scores() if other.input.ndim > 1 else None
    if rows is not None:
        with probe.unobserved():
            if bool(((rows == 0) | (rows == 1)).all()):
                return None  # a one-hot target, and predicted ids (SCE105)
    for more in ((), ("target = target.squeeze(1)",)):
        repaired = attempt(other, *more)
        if repaired is not None and repaired.labels_fit:
            return "\n".join(("input, target = target, input", *([repaired.statements] if repaired.statements else ())))
    return None


HIDDEN = 64
"""Widths of hidden layers are multiples of this, and at least this."""


@cause("SCE313", "wrong-class-count", WARNING)
def wrong_class_count(call: Call) -> Match | None:
    """Dim 1 is not the number of classes: a hidden width was passed as scores, or a view has a stale class count.

    What happens
        Target 2204 is out of bounds, with as many "classes" as a hidden layer has units; or row counts that do not
        match after view(-1, old_class_count).
    Why it is wrong
        The scores never went through the last layer, or rows of scores were cut in the wrong places.
    Example
        >>> input = torch.randn(4, 768)
        >>> target = torch.tensor([2204, 6659, 2204, 1999])
    Fix
        Apply the output layer before the loss, and take the class count from the tensor:
        logits.view(-1, logits.size(-1)).

        >>> input = torch.randn(4, 8000)
    How it is recognised, and when sound calls look alike
        Most labels are beyond C, and C is a multiple of 64, as hidden widths are; or the graph shows a view from a last
        dimension of another size. A head that is a few outputs short is SCE210.
    """
    if not call.tensors or not call.rejected or len(call.shape) < 2 or call.labels is None:
        return None
    labels, classes = call.labels, call.classes
    view = provenance.viewed_from(call.input)
    if len(call.shape) == 2 and view is not None and len(view) > 1 and view[-1] not in (classes, 1):
        rows = call.input.numel() // view[-1]
        needed = labels.fit(view[-1]) and (len(view) > 2 or not labels.fit(classes))
        if len(call.target_shape) == 1 and call.target_shape[0] == rows and needed:
            repaired = attempt(call, f"input = input.reshape(-1, {view[-1]})")
            return Match(
                CERTAIN,
                f"a view cut the scores into rows of {classes}; the model gives {view[-1]} per target",
                (f"the logits had the shape {view} before the view", f"{rows} targets need {rows} rows"),
                "take the class count from the tensor: view(-1, logits.size(-1))",
                fix=None if repaired is None else repaired.fix,
                severity=ERROR,
                odds=0.95,
                input_marks=(1,),
            )
    if len(call.shape) == 2 and len(call.target_shape) == 1 and call.target_shape[0] not in (call.shape[0], 0):
        per_target, left = divmod(call.input.numel(), call.target_shape[0])
        high = labels.bounds[1]
        if left or not labels.whole or not classes <= high < per_target or per_target > 4 * classes:
            return None
        return Match(
            LIKELY,
            f"rows of {classes} scores do not go with labels up to {high:g}; {per_target} per target would",
            (f"{call.input.numel()} scores are exactly {per_target} for each of {call.target_shape[0]} targets",),
            "take the class count from the tensor, view(-1, logits.size(-1)), not from a constant",
            severity=ERROR,
            odds=0.75,
            input_marks=(1,),
        )
    if call.target_shape != contract.index_target_shape(call.shape) or not labels.whole or labels.fit(classes):
        return None
    if not all(map(math.isfinite, labels.bounds)):
        return None
    bad = labels.bad(classes)
    if classes % HIDDEN or classes < HIDDEN or 2 * bad.count < bad.total or labels.bounds[0] < 0:
        return None
    return Match(
        LIKELY,
        f"{classes} is likely a hidden width, not a number of classes",
        (
            f"{bad.count} of {plural(bad.total, 'label')} are {classes} or more, up to {labels.bounds[1]:g}",
            f"{classes} is a multiple of {HIDDEN}, as the widths of hidden layers are",
        ),
        "apply the output layer before the loss",
        severity=ERROR,
        odds=0.85,
        input_marks=(call.class_dim,),
    )
