"""SCE106, SCE108 and SCE110 to SCE112: the scores have the wrong shape, or values that spoil the loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from safe_ce import contract, probe
from safe_ce.causes.cause import (
    CERTAIN,
    ERROR,
    LIKELY,
    WARNING,
    Match,
    cause,
    plural,
)
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.call import Call


@cause("SCE106", "single-logit", ERROR)
def single_logit(call: Call) -> Match | None:
    """There is one class, so the loss is 0 whatever the weights.

    What happens
        Softmax over a single class is 1: the loss is exactly 0 and so is every gradient. Labels other than 0 raise.
    Why it is wrong
        Nothing is learned. A model with one output answers a yes-or-no question, which is another loss's job.
    Example
        >>> input = torch.randn(4, 1)
        >>> target = torch.tensor([0, 0, 0, 0])
    Fix
        Keep the one output and use nn.BCEWithLogitsLoss with float labels, or give the model two outputs.

        >>> input = torch.randn(4, 2)
    How it is recognised, and when sound calls look alike
        The size of the class dimension is 1. Sound calls have that where the classes are the batch itself, as in
        contrastive learning, and the batch is a single sample: one row with one class is a warning only, and nothing where
        an earlier call had another number of classes.
    """
    if not call.tensors or call.classes != 1 or (call.rejected and not call.input.is_floating_point()):
        return None
    if call.rejected and call.target_shape not in (call.shape, contract.index_target_shape(call.shape)):
        return None
    lone = call.shape == (1, 1) and not call.rejected and not call.same_shape
    if lone and any(len(shape) > 1 and shape[1] != 1 for shape, _ in call.earlier):
        return None
    labels = call.labels
    real = labels is not None and call.target.is_floating_point() and not labels.whole
    help = "use nn.BCEWithLogitsLoss with float labels of the input's shape, or give the model two outputs"
    if real:
        regression = "for real-valued targets use a regression loss such as nn.MSELoss"
        shares = labels is not None and labels.bounds[0] >= 0 and labels.bounds[1] <= 1
        help = f"{help}; {regression}" if shares else regression
    evidence = [f"the class dimension, dim {call.class_dim}, has size 1", "softmax over one class is always 1"]
    if call.rejected and labels is not None and labels.whole and not labels.fit(1):
        evidence.append("0 is the only label that such an input has a class for")
    return Match(
        LIKELY if lone else CERTAIN,
        "the input has a single class: the loss is 0 and so is its gradient, whatever the model learns",
        tuple(evidence),
        help,
        severity=WARNING if lone else None,
        odds=0.5 if real else 0.95,
        input_marks=(call.class_dim,),
    )


@cause("SCE108", "logits-not-finite", WARNING)
def logits_not_finite(call: Call) -> Match | None:
    """The logits hold a NaN or an infinity that reaches the loss.

    What happens
        The loss is NaN or inf; or it is finite, because the NaN is in an ignored row, and the gradient is NaN.
    Why it is wrong
        One such step turns every weight of the model into NaN.
    Example
        >>> input = torch.tensor([[0.5, float("nan"), 1.0], [0.1, 0.2, 0.3]])
        >>> target = torch.tensor([0, 2])
    Fix
        Find where the first NaN or inf arises, in the inputs, by safe_ce.audit(loader), or in a layer, by forward hooks:
        a division by 0, a log of 0, too large a learning rate, or float16 scores beyond 65504 (train in bfloat16, or
        with a GradScaler).

        >>> input = torch.tensor([[0.5, 0.4, 1.0], [0.1, 0.2, 0.3]])
    How it is recognised, and when sound calls look alike
        NaN anywhere, +inf anywhere, or -inf at the very class that is the target. -inf at other classes is how classes
        are masked out, and sound; with label smoothing it makes the loss infinite, and with class probabilities NaN.
        Whole rows of -inf are left alone where the row is ignored.
    """
    input = call.input
    if call.rejected or not call.tensors or not input.numel():
        return None
    with probe.unobserved():
        found = _not_finite(call) if call.is_readable(input) else _not_finite_in_a_sample(call)
    if found is None:
        return None
    what, evidence, help = found
    return Match(CERTAIN, f"the input holds {what}", evidence, help, odds=0.9)


def _not_finite(call: Call) -> tuple[str, tuple[str, ...], str] | None:
    """What is not finite and reaches the loss, what was counted of it, and what to do."""
    input: Tensor = call.input
    nan = positive = negative = 0
    for piece in probe.pieces(input):
        if bool(piece.isfinite().all()):
            continue
        nan += int(piece.isnan().sum())
        positive += int(piece.isposinf().sum())
        negative += int(piece.isneginf().sum())
    total = plural(input.numel(), "score")
    if nan or positive:
        what = "NaN" if nan else "+inf, which makes the loss or its gradient NaN"
        counted = f"{nan or positive} of {total}: {'NaN' if nan else '+inf'}"
        rows, bad = _bad_samples(input)
        if bad == rows > 1:
            where, origin = (
                f"all {rows} samples have some",
                (
                    "the model's weights are likely NaN by now: look at the steps before, lower the learning rate, clip the"
                    " gradients"
                ),
            )
        else:
            where, origin = (
                f"{bad} of {plural(rows, 'sample')} have some",
                (
                    "check these samples' inputs with isfinite(), then the layers, with forward hooks, for a division by 0"
                    " or a log of 0"
                ),
            )
        if input.dtype is torch.float16:
            return what, (counted, where, "float16 ends at 65504"), "train in bfloat16, or with a GradScaler; " + origin
        return what, (counted, where), origin
    if not negative:
        return None
    finite = "mask with a large finite number such as -1e4 instead of -inf"
    masked = (f"{negative} of {total}: -inf", "masking classes with -inf is sound for class ids without smoothing")
    if call.same_shape:
        return "-inf, which class probabilities turn into NaN (0 times -inf)", masked, finite
    at_target, beside = _masked_targets(call)
    if at_target:
        points = "1 target points" if at_target == 1 else f"{at_target} targets point"
        return (
            "-inf at the very class that is the target",
            (f"{points} at a class whose score is -inf",),
            "do not mask the target's own class, or mark such targets with ignore_index",
        )
    if call.label_smoothing > 0 and beside:
        return "-inf, which label smoothing turns into an infinite loss", masked, finite + ", or smooth no labels"
    return None


def _not_finite_in_a_sample(call: Call) -> tuple[str, tuple[str, ...], str] | None:
    rows = None if call.sent is None else call.sent.scores
    bad = 0 if rows is None else int((rows.isnan() | rows.isposinf()).any(1).sum())
    if rows is None or not bad:
        return None
    origin = "look for the first NaN or inf, with forward hooks or isfinite(), in the steps before"
    return "NaN or +inf", (f"{bad} of {plural(len(rows), 'row')} looked at have some",), origin


def _bad_samples(input: Tensor) -> tuple[int, int]:
    """How many samples there are, of a bounded part, and how many hold NaN or +inf."""
    part = input[None] if input.ndim == 1 else input
    part = part[: max(1, 64 * probe.PIECE // max(1, part[0].numel()))]
    bad = (part.isnan() | part.isposinf()).flatten(1).any(1)
    return len(part), int(bad.sum())


def _masked_targets(call: Call) -> tuple[int, int]:
    """How many of the targets that count have -inf at their own class, and how many at any; of a bounded part."""
    input, target = call.input, call.target
    if input.ndim == 1:
        input, target = input[None], target.reshape(1)
    if input.numel() > 64 * probe.PIECE:  # a part of the batch is enough to know
        keep = max(1, input.shape[0] * 64 * probe.PIECE // input.numel())
        input, target = input[:keep], target[:keep]
    kept = (target >= 0) & (target < input.shape[1]) & (target != call.ignored)
    chosen = input.gather(1, torch.where(kept, target, 0).long().unsqueeze(1)).squeeze(1)
    return int((kept & chosen.isneginf()).sum()), int((kept & input.isneginf().any(1)).sum())


@cause("SCE110", "logits-extra-dim", ERROR)
def logits_extra_dim(call: Call) -> Match | None:
    """The logits have a stray dimension of size 1.

    What happens
        A shape error: native takes the dimension for a spatial one and wants a target that has it too.
    Why it is wrong
        (N, C, 1, 1), as a global pooling leaves it, is an image of one pixel per sample.
    Example
        >>> input = torch.randn(4, 10, 1, 1)
        >>> target = torch.tensor([3, 0, 9, 1])
    Fix
        Remove the dimension: input.flatten(1) after a pooling, input.squeeze(dim) elsewhere.

        >>> input = input.flatten(1)
    How it is recognised, and when sound calls look alike
        Without one or more dimensions of size 1 the call meets native's contract.
    """
    if not call.tensors or not call.rejected:
        return None
    for dims in _removable(call.shape):
        remaining = tuple(size for dim, size in enumerate(call.shape) if dim not in dims)
        trailing = dims == tuple(range(2, len(call.shape)))
        statement = "input = input.flatten(1)" if trailing else f"input = input.squeeze({_dims_source(dims)})"
        repaired = attempt(call, statement)
        if repaired is None or len(remaining) < 2:
            continue
        one, it = ("a stray dimension", "it") if len(dims) == 1 else ("stray dimensions", "them")
        return Match(
            CERTAIN if repaired.labels_fit else LIKELY,
            f"the logits have {one} of size 1: {call.shape} instead of {remaining}",
            (f"without {it}, {remaining} goes with a target of shape {contract.index_target_shape(remaining)}",),
            f"remove {it}: " + ("flatten what the pooling leaves" if trailing else f"squeeze {it} by number"),
            fix=repaired.fix,
            odds=0.87,
            input_marks=dims,
        )
    return None


def _removable(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Sets of dimensions of size 1 that could be stray: trailing ones first, then single ones, then all."""
    ones = tuple(dim for dim, size in enumerate(shape) if size == 1)
    trailing = tuple(dim for dim in ones if dim >= 2 and all(size == 1 for size in shape[dim:]))
    yield from dict.fromkeys(dims for dims in (trailing, *((dim,) for dim in ones), ones[1:], ones) if dims)


def _dims_source(dims: tuple[int, ...]) -> str:
    return str(dims[0]) if len(dims) == 1 else str(dims)


@cause("SCE111", "logits-missing-batch-dim", ERROR)
def logits_missing_batch_dim(call: Call) -> Match | None:
    """The logits have lost their batch dimension.

    What happens
        A shape error; (C,) against (1,) runs forward on recent releases of torch and fails in backward.
    Why it is wrong
        squeeze() without a dimension removes the batch when it holds one sample; a leftover [0] takes one sample of it.
    Example
        >>> input = torch.randn(1, 5, 8, 8).squeeze()
        >>> target = torch.zeros(1, 8, 8, dtype=torch.int64)
    Fix
        Name the dimension: squeeze(1), never squeeze(); and index no batch with [0].

        >>> input = input.unsqueeze(0)
    How it is recognised, and when sound calls look alike
        With unsqueeze(0) the call meets the contract; or a target of several samples stands against the scores of one,
        and holds ids of its classes. An unbatched call, (C,) against a 0-d target, is sound.
    """
    if not call.tensors or not call.shape or call.input.dtype not in contract.FLOATS or call.same_shape:
        return None
    if not call.rejected:
        if len(call.shape) != 1 or call.target_shape != (1,):
            return None
    elif len(call.shape) > 2 and call.target_shape == call.shape[1:] != contract.index_target_shape(call.shape):
        return _unbatched_image(call)
    elif call.shape[0] == 1 or len(call.target_shape) != len(call.shape) or call.target_shape[1:] != call.shape[1:]:
        return None
    repaired = attempt(call, "input = input.unsqueeze(0)")
    count = call.target_shape[0]
    if repaired is None:
        if not count or call.labels is None or not call.labels.fit(call.shape[0]):
            return None
        if len(call.shape) > 1 and call.labels.fit(call.shape[1]) and (call.shape[0] < 3 or len(call.shape) == 2):
            return None
        return Match(
            LIKELY,
            f"the logits are those of one sample, {call.shape}, against the targets of {count}",
            (f"the target holds ids below {call.shape[0]}, the size of the input's first dimension",),
            "pass the scores of the whole batch: look for a leftover [0], or a loop over the batch",
            odds=0.7,
            input_marks=(0,),
            target_marks=(0,),
        )
    return Match(
        CERTAIN if repaired.labels_fit else LIKELY,
        f"the logits have no batch dimension: {call.shape} against a target of {plural(count, 'sample')}",
        (
            f"with a batch dimension they are {(1, *call.shape)}",
            *(("native computes the loss, and fails in backward",) * (not call.rejected)),
        ),
        "keep the batch dimension: squeeze(1) rather than squeeze(), and no [0] on a batch",
        fix=repaired.fix,
        # Where no gradient is wanted native's number is right.
        severity=ERROR if call.rejected or call.input.requires_grad else WARNING,
        odds=0.8,
        input_marks=(0,),
    )


def _unbatched_image(call: Call) -> Match | None:
    """The match for scores (C, d1, ...) against ids (d1, ...): native knows no batch but of plain scores."""
    repaired = attempt(call, "input = input.unsqueeze(0)", "target = target.unsqueeze(0)")
    if repaired is None or repaired.labels_fit is False or call.shape[0] == 1:
        return None
    return Match(
        LIKELY,
        f"neither side has a batch dimension: {call.shape} against {call.target_shape}",
        ("native takes unbatched scores of shape (C,) alone, and dim 0 for the batch everywhere else",),
        "add the batch dimension on both sides",
        fix=repaired.fix,
        odds=0.85,
        input_marks=(0,),
    )


@cause("SCE112", "half-reduction-overflow", WARNING)
def half_reduction_overflow(call: Call) -> Match | None:
    """float16 cannot count this many targets, or hold the sum of their losses.

    What happens
        On the CPU, a mean over tens of thousands of targets is 0, inf or NaN, and a sum beyond 65504 is inf.
    Why it is wrong
        The loss is computed in the dtype of the logits, and float16 ends at 65504.
    Example
        >>> input = torch.zeros(70000, 2, dtype=torch.float16)
        >>> target = torch.zeros(70000, dtype=torch.int64)
    Fix
        Compute the loss in float32: pass input.float().

        >>> input = input.float()
    How it is recognised, and when sound calls look alike
        float16 logits on the CPU outside autocast, where the loss of every single target is finite and native's mean
        or sum of them is not, or is 0. On an accelerator the sums are kept in float32.
    """
    input = call.input
    if call.rejected or not call.tensors or input.dtype is not torch.float16 or input.device.type != "cpu":
        return None
    if torch.is_autocast_enabled("cpu") or call.reduction == "none" or not call.classes or not input.numel():
        return None
    if not all(call.is_readable(tensor) for tensor in (input, call.target, call.weight) if tensor is not None):
        return None
    name = "mean" if call.averaged else "sum"
    with probe.unobserved():
        losses = _loss(call, "none")
        if not bool(losses.isfinite().all()):
            return None
        total, result = losses.sum(dtype=torch.float64).item(), _loss(call, name).item()
    count, shown = losses.numel(), "NaN" if math.isnan(result) else f"{result:g}"
    if total / count < 1e-4 or (math.isfinite(result) and result != 0):
        return None
    return Match(
        CERTAIN,
        f"the {name} over {plural(count, 'target')} comes out as {shown}: float16 ends at 65504",
        (
            "a loss of float16 logits on the CPU is reduced in float16",
            f"the loss of every single target is finite; together they are {total:.0f}",
        ),
        "compute the loss in float32",
        fix="input = input.float()" if call.weight is None else "input = input.float()\nweight = weight.float()",
        odds=0.9,
    )


def _loss(call: Call, reduction: str) -> Tensor:
    return contract.native(call.input, call.target, call.weight, call.ignore_index, reduction, call.label_smoothing)
