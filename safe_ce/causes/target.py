"""SCE204, SCE206, SCE215 and SCE216: the target has the wrong shape, the wrong type, or nothing in it."""

from __future__ import annotations

import reprlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from safe_ce import contract
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, WARNING, Match, a, cause, plural
from safe_ce.repair import attempt, executed

if TYPE_CHECKING:
    from safe_ce.call import Call


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
        return [f"the labels are names, such as {reprlib.repr(target[0])}: map each name to an id first"]
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
        names = executed([way], input=call.input, target=target)
        if names is None or not isinstance(names["target"], Tensor):
            continue
        converted = replace(call, target=names["target"])
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
