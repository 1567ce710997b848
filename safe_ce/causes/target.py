"""SCE201 to SCE206, SCE215 and SCE216: the target has the wrong kind, shape or type."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from safe_ce import contract, probe
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, WARNING, Match, a, cause, plural
from safe_ce.repair import Repair, attempt

if TYPE_CHECKING:
    from safe_ce.call import Call

NORMALIZED = 5e-3
"""How far from 1 a row of class probabilities may sum: a float16 teacher's rows are off by 1e-3."""


def _zeros_and_ones(rows: Tensor) -> bool:
    with probe.unobserved():
        return bool(((rows == 0) | (rows == 1)).all())


def _one_hot(rows: Tensor | None) -> bool:
    """Whether every row holds zeros and a single one."""
    if rows is None or not _zeros_and_ones(rows):
        return False
    with probe.unobserved():
        return bool((rows.sum(1) == 1).all())


def _one_hot_dim(call: Call) -> tuple[int, Repair] | None:
    """The dimension of a rejected target along which it is one-hot, and the repair that argmax makes."""
    sizes = call.target_shape
    dims = [dim for dim, size in enumerate(sizes) if size > 1]
    for dim in sorted(dims, key=lambda dim: (sizes[dim] != call.classes, dim != call.class_dim)):
        if dim == 0 and len(sizes) > 1:
            continue
        if not _one_hot(call.target_rows(dim)):
            continue
        # argmax knows neither bool nor the wider unsigned integers.
        ids = (
            "target.long()" if call.target.dtype in (torch.bool, torch.uint16, torch.uint32, torch.uint64) else "target"
        )
        for statements in _ids_from_one_hot(call, dim, ids):
            repaired = attempt(call, *statements, labels="made")
            if repaired is not None and sizes[dim] <= repaired.classes:
                return dim, repaired
    return None


def _ids_from_one_hot(call: Call, dim: int, ids: str) -> list[tuple[str, ...]]:
    argmax = f"target = {ids}.argmax({dim})"
    ways = [(argmax,), (argmax, "target = target.reshape(-1)")]
    if len(call.shape) > 2 and call.shape[-1] == call.target_shape[dim]:
        ways.append(("input = input.movedim(-1, 1)", argmax))
    return ways


@cause("SCE201", "one-hot-target", ERROR, patience=10)
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
        ten looks in a row, because single batches of a mixup pipeline are one-hot too.
    """
    if not call.tensors or not call.target_shape or call.target.is_complex():
        return None
    if not call.rejected:
        if not call.same_shape or len(call.shape) < 2 or call.classes < 2:
            return None
        if not _one_hot(call.target_rows(1)):
            return None
        repaired = attempt(call, "target = target.argmax(1)", labels="made")
        return Match(
            CERTAIN,
            "the target is a float one-hot: native takes it for class probabilities",
            (
                "every row looked at is zeros and a single one",
                f"class ids would take {call.classes} times less memory, and ignore_index would work",
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
        ("every row looked at is zeros and a single one",),
        "pass the class ids themselves: leave out the one-hot step, or undo it",
        fix=repaired.fix,
        odds=0.95,
        target_marks=(dim,),
    )


def _flattened_one_hot(call: Call) -> Match | None:
    if len(call.target_shape) != 1 or len(call.shape) != 2 or call.classes < 2:
        return None
    if call.target_shape[0] != call.shape[0] * call.classes or call.labels is None:
        return None
    if call.labels.bounds != (0, 1) or not call.labels.whole:
        return None
    with probe.unobserved():
        cut = probe.rows(call.target.reshape(call.shape), 1)
    if not _one_hot(cut):
        return None
    statement = f"target = target.reshape(-1, {call.classes}).argmax(1)"
    if call.target.dtype is torch.bool:
        statement = statement.replace("target.reshape", "target.long().reshape")
    repaired = attempt(call, statement, labels="made")
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
    if rows is None or not _zeros_and_ones(rows):
        return None
    with probe.unobserved():
        most = int(rows.sum(1).max())
    if most < 2 or _is_last_dim_distribution(call):
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


def _is_last_dim_distribution(call: Call) -> bool:
    rows = call.target_rows(len(call.target_shape) - 1) if len(call.target_shape) > 2 else None
    if rows is None:
        return False
    with probe.unobserved():
        return bool(((rows.sum(1) - 1).abs() <= NORMALIZED).all())


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
    if len(call.shape) == 1 and _zeros_and_ones(rows):
        return None  # binary labels (SCE310)
    if _is_last_dim_distribution(call):
        return None  # the classes are last (SCE303)
    with probe.unobserved():
        low, sums = rows.min().item(), rows.sum(1)
        off = ~((sums - 1).abs() <= NORMALIZED)  # NaN is off as well
        if low >= -1e-6 and not bool(off.any()):
            return None
        logs = bool((rows <= 0).all()) and bool((rows.logsumexp(1).abs() < NORMALIZED).all())
        smallest, largest = sums.min().item(), sums.max().item()
        zeros = (rows == 0).all(1)
        zero_rows = bool((~off | zeros).all())
        odd, empty = int(off.sum()), int(zeros.sum())
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
        fact = f"{empty} of {plural(len(sums), 'row')} of the target are all zeros, and count in the loss"
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


@cause("SCE204", "target-extra-dim", ERROR)
def target_extra_dim(call: Call) -> Match | None:
    """The target has a stray dimension of size 1.

    What happens
        "0D or 1D target tensor expected, multi-target not supported", or "only batches of spatial targets supported".
    Why it is wrong
        Class ids have the shape of the logits without the class dimension: (N,), not (N, 1); (N, H, W), not
        (N, 1, H, W).
    Example
        >>> input = torch.randn(4, 10)
        >>> target = torch.tensor([[3], [0], [9], [1]])
    Fix
        Remove the dimension by its number, target.squeeze(1), best where the labels are read.

        >>> target = target.squeeze(1)
    How it is recognised, and when sound calls look alike
        Without dimensions of size 1 the target has exactly the shape that goes with the logits.
    """
    if not call.tensors or not call.rejected or not call.shape or len(call.target_shape) < 2:
        return None
    if call.target.is_floating_point() and call.labels is not None and not call.labels.whole:
        return None
    wanted = contract.index_target_shape(call.shape)
    for dim, size in enumerate(call.target_shape):
        if size != 1:
            continue
        rest = call.target_shape[:dim] + call.target_shape[dim + 1 :]
        if [s for s in rest if s != 1] != [s for s in wanted if s != 1] or len(rest) < len(wanted):
            continue
        repaired = attempt(call, f"target = target.squeeze({dim})")
        if repaired is None:
            continue
        return Match(
            CERTAIN if repaired.labels_fit is not False else LIKELY,
            f"the target has a stray dimension of size 1: {call.target_shape} instead of {wanted}",
            (f"logits of shape {call.shape} go with class ids of shape {wanted}",),
            "remove it by its number, where the labels are read",
            fix=repaired.fix,
            odds=0.85,
            target_marks=(dim,),
        )
    return None


@cause("SCE205", "color-mask-target", ERROR)
def color_mask_target(call: Call) -> Match | None:
    """The mask is still a colour image.

    What happens
        "only batches of spatial targets supported (3D tensors) but got targets of dimension: 4".
    Why it is wrong
        Each pixel needs the number of its class. A colour is a picture of that number.
    Example
        >>> palette = torch.tensor([[0, 0, 0], [128, 0, 0], [0, 128, 0]])
        >>> input = torch.randn(2, 3, 4, 4)
        >>> target = palette[torch.tensor([[0, 1, 2, 0]] * 8).view(2, 4, 4)]
    Fix
        Map each colour of the palette to its class id where the mask is read; for an indexed PNG read the indices
        (PIL mode "P") and do not convert to RGB.

        >>> target = (target == 128).long() @ torch.tensor([1, 2, 0])
    How it is recognised, and when sound calls look alike
        A dimension of size 3 or 4 where colours go, first or last behind the batch, whose values are not one-hot.
    """
    if not call.tensors or not call.rejected or len(call.shape) not in (3, 4) or call.labels is None:
        return None
    spatial, batch = call.shape[-2:], call.shape[:-3]
    target = call.target_shape
    for dim, layout in ((len(batch), "channels first"), (len(target) - 1, "channels last")):
        if len(target) != len(call.shape) or target[dim] not in (3, 4):
            continue
        rest = target[:dim] + target[dim + 1 :]
        if rest[: len(batch)] != batch or (rest[-2:] != spatial and call.labels.bounds[1] <= 1):
            continue
        rows = call.target_rows(dim)
        if rows is None or _one_hot(rows):
            continue
        with probe.unobserved():
            gray = bool((rows[:, :1] == rows[:, :3]).all())
        low, high = call.labels.bounds
        if call.labels.whole and high < call.classes and not gray:
            continue  # class ids, in a shape that does not fit
        select = f"target = target.select({dim}, 0)"
        repaired = attempt(call, select) if gray else None
        return Match(
            CERTAIN if high > call.classes else LIKELY,
            f"the mask is a colour image, {target}, not class ids of shape {(*batch, *spatial)}",
            (
                f"dim {dim} has size {target[dim]}: {'RGBA' if target[dim] == 4 else 'RGB'}, {layout}",
                "all channels are equal: a gray mask that was converted to RGB"
                if gray
                else f"values from {low:g} to {high:g}, where class ids end at {call.classes - 1}",
            ),
            "map each colour to its class id where the mask is read" if not gray else "read the mask as one channel",
            fix=repaired.fix if repaired is not None else None,
            odds=0.9,
            target_marks=(dim,),
        )
    return None


@cause("SCE206", "target-missing-batch-dim", ERROR)
def target_missing_batch_dim(call: Call) -> Match | None:
    """The target has lost its batch dimension.

    What happens
        "Expected input batch_size (1) to match target batch_size (0)" for a single label, or the height of a mask in
        place of the 0.
    Why it is wrong
        A batch of one sample is still a batch. Indexing a label vector gives a label without it.
    Example
        >>> input = torch.randn(1, 5)
        >>> target = torch.tensor([1, 0, 2])[0]
    Fix
        Add the dimension, target.unsqueeze(0), or keep it where one sample is picked: labels[i:i+1].

        >>> target = target.unsqueeze(0)
    How it is recognised, and when sound calls look alike
        With unsqueeze(0) the call meets the contract; or a single label stands against several rows of logits.
    """
    if not call.tensors or not call.rejected or not call.shape:
        return None
    repaired = attempt(call, "target = target.unsqueeze(0)")
    if repaired is not None and len(call.target_shape) == len(call.shape) - 2:
        return Match(
            CERTAIN if repaired.labels_fit is not False else LIKELY,
            f"the target has no batch dimension: {call.target_shape} instead of {(1, *call.target_shape)}",
            ("the logits are a batch of one",),
            "add the batch dimension, or keep it where one sample is picked",
            fix=repaired.fix,
            odds=0.85,
            target_marks=(0,),
        )
    if call.target_shape == () and len(call.shape) == 2:
        return Match(
            LIKELY,
            f"the target is a single label, against {plural(call.shape[0], 'row')} of logits",
            ('native calls a label without a batch dimension "batch_size (0)"',),
            "pass the labels of the whole batch: look for a leftover [0], an .item() or a reduction over the labels",
            odds=0.7,
            target_marks=(0,),
        )
    if len(call.shape) > 3 and call.target_shape == call.shape[2:] and call.shape[0] > 1:
        return Match(
            LIKELY,
            f"the target is one mask, {call.target_shape}, against a batch of {call.shape[0]}",
            ("it has the size of the logits, without the batch dimension",),
            "pass the masks of the whole batch: look for a leftover [0]",
            odds=0.7,
            target_marks=(0,),
        )
    return None


@cause("SCE215", "target-not-tensor", ERROR)
def target_not_tensor(call: Call) -> Match | None:
    """The target is a list, a NumPy array, a number or a string, not a tensor.

    What happens
        TypeError: argument 'target' must be Tensor, not list.
    Why it is wrong
        A collate function or a data set gave Python objects through, or the labels were never converted.
    Example
        >>> input = torch.randn(3, 5)
        >>> target = [4, 0, 2]
    Fix
        Convert where the batch is made: torch.as_tensor(labels). Strings need a table from name to id first.

        >>> target = torch.as_tensor(target)
    How it is recognised, and when sound calls look alike
        The target is not a tensor. Objects that implement __torch_function__ are not touched.
    """
    target = call.target
    if isinstance(target, Tensor) or call.stage == "construction":
        return None
    return Match(
        CERTAIN,
        f"the target is {a(target)}, not a tensor",
        tuple(_about(target)),
        "convert the labels to an int64 tensor where the batch is made",
        fix=_converted(call),
        odds=0.9,
    )


def _about(target: Any) -> list[str]:
    if isinstance(target, (list, tuple)) and target and all(isinstance(item, str) for item in target):
        return [f"the labels are names, such as {target[0]!r}: map each name to an id first"]
    if isinstance(target, dict):
        return [f"its keys: {', '.join(map(str, list(target)[:6]))}"]
    return []


def _converted(call: Call) -> str | None:
    """The first conversion of the target that gives a call which native accepts."""
    target = call.target
    if not isinstance(call.input, Tensor):
        return None
    moved = "" if call.input.device.type == "cpu" else ", device=input.device"
    ways = [f"target = torch.as_tensor(target{moved})"]
    if isinstance(target, (list, tuple)):
        ways = [*(["target = torch.stack(list(target))"] if any(isinstance(t, Tensor) for t in target) else ()), *ways]
        ways += [f"target = target[{place}]" for place, item in enumerate(target[:4]) if isinstance(item, Tensor)]
    if isinstance(target, dict):
        ways = [f"target = target[{key!r}]" for key, item in target.items() if isinstance(item, Tensor)]
    ways += [f"target = torch.as_tensor([target]{moved})"] if isinstance(target, int) else []
    for way in ways:
        names: dict[str, Any] = {"torch": torch, "input": call.input, "target": target}
        try:
            with probe.unobserved(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of arrays that cannot be written
                exec(way, names)
        except Exception:
            continue  # whatever the object raises, it cannot be converted in this way
        converted = replace(call, target=names["target"])
        if not isinstance(converted.target, Tensor):
            continue
        repaired = attempt(converted)
        if repaired is not None and repaired.fix is not None:
            return way + ("\n" + repaired.fix if repaired.fix else "")
    return None


@cause("SCE216", "empty-batch", WARNING)
def empty_batch(call: Call) -> Match | None:
    """There are no targets, so the mean is 0 divided by 0.

    What happens
        The loss is NaN; no error is raised.
    Why it is wrong
        A selection came back empty, no positives in a detection batch say, and one NaN spoils every average after it.
    Example
        >>> input = torch.randn(40, 2)[torch.zeros(40, dtype=torch.bool)]
        >>> target = torch.zeros(0, dtype=torch.int64)
    Fix
        Skip the loss when nothing was selected, or use reduction="sum" and divide by max(count, 1).

        >>> kwargs = dict(reduction="sum")
    How it is recognised, and when sound calls look alike
        A batch or spatial dimension of size 0, with a mean. With "sum" the loss is 0, and sound.
    """
    if call.rejected or not call.tensors or not call.averaged or call.input.numel():
        return None
    empty = tuple(dim for dim, size in enumerate(call.shape) if size == 0)
    what = "the batch is empty: the mean over no targets" if call.classes else "the input has no classes: the mean"
    return Match(
        CERTAIN,
        f"{what} is NaN",
        (f"the input has shape {call.shape}",),
        'skip the loss when nothing was selected, or use reduction="sum" and divide by max(count, 1)',
        fix='reduction = "sum"' if call.classes else None,
        odds=0.9,
        input_marks=empty,
    )
