"""SCE303 to SCE305, SCE309 to SCE311 and SCE313: the right things in the wrong dimensions or the wrong order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from safe_ce import contract, probe, provenance
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, WARNING, Match, cause, plural
from safe_ce.causes.target import NORMALIZED
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call


def _sum_to_one(rows: Tensor | None) -> bool:
    if rows is None:
        return False
    with probe.unobserved():
        return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() <= NORMALIZED).all())


@cause("SCE303", "class-dim-last", ERROR)
def class_dim_last(call: Call) -> Match | None:
    """The classes are in the last dimension of the logits, and native wants them in dim 1.

    What happens
        Expected target size [32, 949], got [32, 51]; or nothing, where the sizes coincide or the target is soft.
    Why it is wrong
        Native reads (N, C, d1, ...). Given (N, T, C) it takes the steps for classes and applies softmax over them.
    Example
        >>> input = torch.randn(2, 7, 5)
        >>> target = torch.zeros(2, 7, dtype=torch.int64)
    Fix
        Move the classes to dim 1, or flatten both sides: logits.reshape(-1, C), target.reshape(-1).

        >>> input = input.movedim(-1, 1)
    How it is recognised, and when sound calls look alike
        With the last dimension moved to dim 1 the call meets the contract. Where native accepts: a soft target of the
        same shape sums to 1 along the last dimension and not along dim 1 (certain), or a bare linear layer's output of
        as many steps as classes (likely).
    """
    if not call.tensors or len(call.shape) < 3 or call.shape[-1] == 1:
        return None
    last = len(call.shape) - 1
    moved = "input = input.movedim(-1, 1)"
    if call.same_shape and call.target.is_floating_point():
        if not _sum_to_one(call.target_rows(last)) or _sum_to_one(call.target_rows(1)):
            return None
        repaired = attempt(call, moved, "target = target.movedim(-1, 1)")
        return Match(
            CERTAIN,
            f"the classes are in the last dimension of {call.shape}; softmax runs over dim 1",
            ("the target's rows sum to 1 along the last dimension, and not along dim 1",),
            "move the classes to dim 1, on both sides",
            fix=None if repaired is None else repaired.fix,
            odds=0.95,
            input_marks=(last,),
            target_marks=(last,),
        )
    if not call.rejected:
        if call.shape[1] != call.shape[-1] or not provenance.is_linear_output(call.input):
            return None
        repaired = attempt(call, moved)
        if repaired is None:
            return None
        return Match(
            LIKELY,
            f"the classes are likely in the last dimension of {call.shape}; softmax runs over dim 1",
            (
                "the input comes straight from a linear layer, whose outputs are in the last dimension",
                f"native cannot tell: dims 1 and {last} have the same size, {call.shape[1]}",
            ),
            "move the classes to dim 1",
            fix=repaired.fix,
            odds=0.6,
            input_marks=(last,),
        )
    if attempt(call) is not None and not provenance.is_linear_output(call.input):
        return None  # as they are the shapes fit as well, and something else is wrong
    repaired = attempt(call, moved)
    if repaired is not None:
        return Match(
            CERTAIN if repaired.labels_fit else LIKELY if repaired.labels_fit is None else POSSIBLE,
            f"the classes are in the last dimension, {call.shape}; native wants them in dim 1",
            (f"{call.target_shape} is the input's shape without its last dimension",),
            "move the classes to dim 1, or flatten both sides: input.reshape(-1, C) and target.reshape(-1)",
            fix=repaired.fix,
            odds=0.9,
            input_marks=(last,),
        )
    labels = call.labels
    if (
        len(call.target_shape) == len(call.shape) - 1
        and call.shape[0] == call.target_shape[0]
        and call.shape[2:] != call.target_shape[1:]
        and labels is not None
        and not labels.fit(call.shape[1])
        and labels.fit(call.shape[-1])
    ):
        return Match(
            LIKELY,
            f"the classes are in the last dimension, {call.shape}, and the other sizes differ from the target's",
            (f"labels up to {labels.bounds[1]:g} fit dim {last}, not dim 1",),
            "move the classes to dim 1, and bring both sides to the same steps",
            odds=0.77,
            input_marks=tuple(range(1, len(call.shape))),
            target_marks=tuple(range(1, len(call.target_shape))),
        )
    return None


@cause("SCE304", "one-side-flattened", ERROR)
def one_side_flattened(call: Call) -> Match | None:
    """One side was flattened to rows, the other was not.

    What happens
        Expected input batch_size (32) to match target batch_size (2), with a target of two dimensions or more.
    Why it is wrong
        Scores in rows, (N * T, C), need ids in a row, (N * T,).
    Example
        >>> input = torch.randn(14, 5)
        >>> target = torch.zeros(2, 7, dtype=torch.int64)
    Fix
        Flatten both sides alike: input.reshape(-1, C) and target.reshape(-1).

        >>> target = target.reshape(-1)
    How it is recognised, and when sound calls look alike
        With the other side flattened too, the call meets the contract.
    """
    if not call.tensors or not call.rejected:
        return None
    dims = len(call.shape)
    soft = _one_soft_side_flattened(call)
    if soft is not None:
        return soft
    if dims == 2 and len(call.target_shape) > 1:
        repaired = attempt(call, "target = target.reshape(-1)")
        if repaired is None or call.target_shape[0] == call.shape[0]:
            return None
        flat, whole = "the logits", "the target"
    elif dims > 2 and len(call.target_shape) == 1:
        last = "input = input.reshape(-1, input.shape[-1])"
        second = "input = input.movedim(1, -1).reshape(-1, input.shape[1])"
        ways = (last, second) if dims == 3 and not provenance.is_convolution_output(call.input) else (second, last)
        tried = [attempt(call, way) for way in ways]
        fitting = [repaired for repaired in tried if repaired is not None]
        if not fitting:
            return None
        repaired = next((repaired for repaired in fitting if repaired.labels_fit), fitting[0])
        if call.target_shape[0] == call.shape[0]:
            return None
        flat, whole = "the target", "the logits"
    else:
        return None
    return Match(
        CERTAIN if repaired.labels_fit else LIKELY if repaired.labels_fit is None else POSSIBLE,
        f"{flat} were flattened to rows and {whole} were not: {call.shape} against {call.target_shape}".replace(
            "the target were flattened", "the target was flattened"
        ).replace("the target were not", "the target was not"),
        (f"flattened, both sides have {call.shape[0] if dims == 2 else call.target_shape[0]} rows",),
        "flatten both sides alike",
        fix=repaired.fix,
        odds=0.85,
        input_marks=tuple(dim for dim in range(dims) if dim != 1) if dims > 2 else (0,),
        target_marks=tuple(range(len(call.target_shape))),
    )


def _one_soft_side_flattened(call: Call) -> Match | None:
    """The match for class probabilities, (N * T, C) on one side and (N, ..., C) on the other."""
    if not call.target.is_floating_point() or not call.shape or call.target_shape[-1:] != call.shape[-1:]:
        return None
    if {2} != {min(len(call.shape), len(call.target_shape))} or len(call.shape) == len(call.target_shape):
        return None
    whole, flat = ("target", "logits") if len(call.shape) == 2 else ("input", "target")
    repaired = attempt(call, f"{whole} = {whole}.reshape(-1, {call.shape[-1]})")
    if repaired is None:
        return None
    return Match(
        CERTAIN,
        f"the {flat} {'were' if flat == 'logits' else 'was'} flattened to rows and the other side was not:"
        f" {call.shape} against {call.target_shape}",
        (f"flattened, both sides are rows of {call.shape[-1]}",),
        "flatten both sides alike",
        fix=repaired.fix,
        odds=0.85,
        input_marks=tuple(range(len(call.shape) - 1)),
        target_marks=tuple(range(len(call.target_shape) - 1)),
    )


@cause("SCE305", "time-batch-swapped", ERROR)
def time_batch_swapped(call: Call) -> Match | None:
    """One side has time first, the other has the batch first.

    What happens
        A batch size that does not match: the number of steps stands against the number of samples.
    Why it is wrong
        nn.RNN, nn.LSTM, nn.GRU and nn.Transformer put time first unless batch_first=True; loaders put the batch first.
    Example
        >>> input = torch.randn(7, 2, 5)
        >>> target = torch.zeros(2, 7, dtype=torch.int64)
    Fix
        Build the layer with batch_first=True, or permute: (T, N, C) to (N, C, T) is input.permute(1, 2, 0).

        >>> input = input.permute(1, 2, 0)
    How it is recognised, and when sound calls look alike
        With the first two dimensions exchanged the call meets the contract, and not with the classes moved alone.
    """
    if not call.tensors or not call.rejected or len(call.shape) < 3 or len(call.target_shape) != len(call.shape) - 1:
        return None
    if len(call.shape) != 3 or call.target_shape[0] == call.shape[0]:
        return None
    for statement in ("input = input.permute(1, 2, 0)", "target = target.transpose(0, 1)"):
        repaired = attempt(call, statement)
        if repaired is None:
            continue
        side = "logits have" if statement.startswith("input") else "target has"
        return Match(
            CERTAIN if repaired.labels_fit else LIKELY if repaired.labels_fit is None else POSSIBLE,
            f"time and batch are swapped: {call.shape} against {call.target_shape}",
            (f"exchanged, the shapes fit: the {side} time where the batch goes",),
            "build the layer with batch_first=True, or exchange the two dimensions",
            fix=repaired.fix,
            odds=0.85,
            input_marks=(0, 1) if statement.startswith("input") else (0, 2),
            target_marks=(0, 1),
        )
    return None


@cause("SCE309", "spatial-size-mismatch", ERROR)
def spatial_size_mismatch(call: Call) -> Match | None:
    """Height and width of the logits differ from those of the mask.

    What happens
        size mismatch (got input: [2, 2, 68, 68] , target: [2, 256, 256].
    Why it is wrong
        Strides, pooling and unpadded convolutions shrink the map; every pixel of the mask needs scores.
    Example
        >>> input = torch.randn(2, 5, 8, 8)
        >>> target = torch.zeros(2, 32, 32, dtype=torch.int64)
    Fix
        Resize the logits to the mask, with F.interpolate(..., mode="bilinear"); or the mask to the logits, with
        mode="nearest" only.

        >>> input = F.interpolate(input, size=target.shape[1:], mode="bilinear", align_corners=False)
    How it is recognised, and when sound calls look alike
        Batch sizes agree, the target has the dimensions of a mask, and only the spatial sizes differ.
    """
    if not call.tensors or not call.rejected or len(call.shape) not in (4, 5):
        return None
    spatial = len(call.shape) - 2
    sizes = call.target_shape[-spatial:]
    rest = call.target_shape[:-spatial]
    if rest not in ((call.shape[0],), (call.shape[0], 1)) or sizes == call.shape[2:]:
        return None
    swapped = attempt(call, "target = target.transpose(-1, -2)") if sizes == call.shape[2:][::-1] else None
    mode = "bilinear" if spatial == 2 else "trilinear"
    if swapped is not None:
        repaired, help = swapped, "height and width are exchanged: PIL sizes are (width, height)"
    elif sizes == call.shape[1:-1]:
        return None  # the classes are last
    else:
        resize = f'input = F.interpolate(input, size=target.shape[-{spatial}:], mode="{mode}", align_corners=False)'
        found = attempt(call, resize)
        if found is None:
            return None
        repaired, help = found, 'resize the logits to the mask, or the mask to the logits with mode="nearest"'
    got, wanted = " x ".join(map(str, call.shape[2:])), " x ".join(map(str, sizes))
    return Match(
        CERTAIN,
        f"the logits are {got}, the mask is {wanted}",
        (f"the batch sizes agree: {call.shape[0]}",),
        help,
        fix=repaired.fix,
        odds=0.85,
        input_marks=tuple(range(2, len(call.shape))),
        target_marks=tuple(range(len(call.target_shape) - spatial, len(call.target_shape))),
    )


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
        Input and target are both (N,), and the target is no distribution. A float target that is non-negative and sums
        to 1 is a sound unbatched call.
    """
    if not call.tensors or not call.same_shape or len(call.shape) != 1 or call.input.dtype not in contract.FLOATS:
        return None
    labels = call.labels
    if labels is None or call.shape[0] < 2:
        return None
    if call.target.is_floating_point():
        if _sum_to_one(call.target_rows(0)):
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
        if rows is None or not _sum_to_one(call.scores()) or _sum_to_one(rows):
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
