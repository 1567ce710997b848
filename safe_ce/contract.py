"""What native accepts: a predicate on types, shapes, dtypes, devices and options. No value is read.

Two questions are asked of it. The guard asks `is_broken` before every call: it holds only the clauses on which
every backend and every supported release of torch agree, and it must be cheap. The diagnosis asks
`broken_clause` afterwards: it is native's exact predicate on the CPU, with the words for what is missing.
"""

from __future__ import annotations

import gc
import operator
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from safe_ce.call import Call

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
REDUCTIONS = ("none", "mean", "sum", "elementwise_mean")  # the last is a deprecated alias of "mean"
INT64 = range(-(2**63), 2**63)
LONE_LABEL_SINCE = (2, 9)
"""The release of torch since which (C,) logits are accepted against a (1,) target, forward."""


def _found() -> Any:
    """Native's function, also where another package has put one of its own in its place."""
    here = F.cross_entropy
    if getattr(here, "__globals__", None) is vars(F):
        return here
    for function in gc.get_referrers(vars(F)):  # the functions of torch's module, those that somebody holds
        if isinstance(function, FunctionType) and function.__qualname__ == "cross_entropy":
            return function
    source: Any = F.__loader__
    codes = source.get_code(F.__name__).co_consts
    code = next(code for code in codes if getattr(code, "co_name", None) == "cross_entropy")
    return FunctionType(code, vars(F), "cross_entropy", (None, None, -100, None, "mean", 0.0))


original: Any = _found()
"""Native's function as everybody knows it, whose code may be the guard's (see `safe_ce.patching`)."""

alone: Any = FunctionType(
    original.__code__, {**vars(F), "cross_entropy": original}, "cross_entropy", original.__defaults__
)
"""Native's code, and nothing but it. To tensors and modes that override the function it says that it is that one."""
alone.__annotations__, alone.__doc__ = original.__annotations__, original.__doc__

traced: Any = original
"""Native's function as a graph is to have it: the one that everybody knows, while its code is its own."""

GUARDS: dict[Any, Callable[..., Tensor]] = {}
"""The functions of the guard that may stand in native's place, and which they call."""


def unguarded(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function that a guarding one calls, or any other one itself."""
    return GUARDS.get(function, function)


def native(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Tensor:
    """Native's own loss."""
    loss: Tensor = alone(
        input,
        target,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return loss


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that a call means, in which the deprecated arguments override the one that has a name."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is not None and not reduce:
        return "none"
    return "mean" if size_average is None or size_average else "sum"


def is_broken(input: Tensor, target: Tensor, ignore_index: int) -> bool:
    """Whether native is certain to reject these two plain tensors, on every backend and release.

    Native takes equal shapes for class probabilities and everything else for class ids; so does this.
    """
    shape = input.shape
    wanted = target.shape
    if len(shape) == len(wanted) and shape == wanted:  # sizes that are no numbers yet are not to be compared in vain
        ignores = type(ignore_index) is int and ignore_index >= 0
        return ignores or not target.dtype.is_floating_point or not shape
    dims = len(shape)
    if dims < 2:
        # (C,) against (1,) is left to native: releases differ.
        return not shape or (len(wanted) != 0 and wanted != (1,))
    if len(wanted) != dims - 1 or shape[0] != wanted[0]:
        return True
    if dims > 2 and shape[2:] != wanted[1:]:
        return True
    # Up to torch 2.10 an empty target may have any dtype.
    return target.dtype.is_floating_point and target.numel() != 0


def index_target_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the class ids that go with logits of this shape."""
    return shape[:1] + shape[2:] if len(shape) > 1 else ()


def broken_clause(call: Call) -> str | None:
    """The first clause of native's contract that a call breaks, in words, or None.

    Label values are not read (see `labels_in_range` in `safe_ce.call` for those), with one exception: two
    degenerate corners of the smoothed, weighted mean pass where every target is ignored.
    """
    problem = _options(call)
    if problem is not None:
        return problem
    for name, value in (("input", call.input), ("target", call.target)):
        if not isinstance(value, Tensor):
            return f"{name} must be a tensor, not {type(value).__name__}"
    if call.weight is not None and not isinstance(call.weight, Tensor):
        return f"weight must be a tensor or None, not {type(call.weight).__name__}"
    assert isinstance(call.input, Tensor)
    assert isinstance(call.target, Tensor)
    layout = _layout(call.input, call.target)
    if layout is not None:
        return layout
    devices = {tensor.device for tensor in (call.input, call.target, call.weight) if tensor is not None}
    if len(devices) > 1:
        return "input, target and weight must be on one device"
    if call.input.shape == call.target.shape:
        return _probabilities(call, call.input, call.target, call.weight)
    return _ids(call, call.input, call.target, call.weight)


def _layout(input: Tensor, target: Tensor) -> str | None:
    if input.is_nested or target.is_nested:
        return "input and target must not be nested tensors"
    if input.layout is not torch.strided or input.is_quantized:
        return "input must be a dense tensor"
    if target.is_quantized or (target.layout is not torch.strided and target.shape != input.shape):
        return "target must be a dense tensor"
    return None


def _options(call: Call) -> str | None:
    if not isinstance(call.reduction, str) or call.reduction not in REDUCTIONS:
        return "reduction must be 'none', 'mean' or 'sum'"
    if isinstance(call.ignore_index, (bool, float)):
        return "ignore_index must be an int"
    try:
        if operator.index(call.ignore_index) not in INT64:
            return "ignore_index must fit in int64"
    except TypeError:
        return "ignore_index must be an int"
    smoothing = smoothing_of(call)
    if smoothing is None:
        return "label_smoothing must be a float"
    return "label_smoothing must be between 0 and 1" if smoothing > 1.0 else None


def smoothing_of(call: Call) -> float | None:
    """`label_smoothing` as native reads it, or None where it is no number."""
    if call.label_smoothing is None or isinstance(call.label_smoothing, (str, complex)):
        return None
    try:
        return float(call.label_smoothing)
    except (TypeError, ValueError, RuntimeError):
        return None


def _probabilities(call: Call, input: Tensor, target: Tensor, weight: Tensor | None) -> str | None:
    if input.ndim == 0:
        return "input must have a class dimension"
    if target.dtype not in FLOATS:
        return "a target of the input's own shape holds class probabilities and must be floating point"
    if operator.index(call.ignore_index) >= 0:
        return "ignore_index must be negative where the target holds class probabilities"
    if input.dtype not in FLOATS and input.numel():
        return "input must be float16, bfloat16, float32 or float64"
    classes = input.shape[1] if input.ndim > 1 else input.shape[0]
    if weight is not None and tuple(weight.shape) != (classes,):
        return f"weight must have shape ({classes},), one entry per class"
    dtypes = [input.dtype, target.dtype] + ([weight.dtype] if weight is not None else [])
    try:
        promoted = dtypes[0]
        for dtype in dtypes[1:]:
            promoted = torch.promote_types(promoted, dtype)
    except RuntimeError:
        return "the dtypes of input, target and weight must promote to one another"
    if promoted is torch.complex32 and input.numel():
        return "the dtypes of input, target and weight must promote to one that sums"
    return None


def _ids(call: Call, input: Tensor, target: Tensor, weight: Tensor | None) -> str | None:
    if input.dtype not in FLOATS:
        return "input must be float16, bfloat16, float32 or float64"
    if input.ndim == 0:
        return "input must have a class dimension"
    shape, smoothing = tuple(input.shape), float(call.label_smoothing)
    wanted = index_target_shape(shape)
    lone = input.ndim == 1 and tuple(target.shape) == (1,) and not smoothing > 0 and _takes_a_lone_label()
    if tuple(target.shape) != wanted and not lone:
        return f"input of shape {shape} needs class ids of shape {wanted} or class probabilities of shape {shape}"
    if (input.ndim == 3 or input.ndim > 4) and not input.numel() and target.numel():
        return "input must have at least one class"
    mean = call.reduction not in ("none", "sum")
    smoothed_weighted_mean = smoothing > 0 and mean and weight is not None
    if target.dtype is torch.uint8:
        if input.ndim > 2 and (target.numel() or call.reduction == "none"):
            return "class ids of three dimensions and more must be int64"
        if smoothed_weighted_mean and not _all_ignored(call, target):
            return "class ids must be int64 for a smoothed and weighted mean"
    elif target.dtype is not torch.int64:
        return "class ids must be int64"
    if weight is None:
        return None
    classes = shape[0] if input.ndim == 1 else shape[1]
    if input.ndim < 3 and tuple(weight.shape) != (classes,):
        return f"weight must have shape ({classes},), one entry per class"
    if weight.numel() != classes or (smoothing > 0 and (weight.ndim == 0 or weight.shape[0] != classes)):
        return f"weight must have shape ({classes},), one entry per class"
    if weight.dtype is not input.dtype and not _autocasting():
        return f"weight must have the input's dtype, {str(input.dtype).removeprefix('torch.')}"
    if smoothed_weighted_mean and weight.ndim != 1 and not _all_ignored(call, target):
        return f"weight must have shape ({classes},), one entry per class"
    if weight.requires_grad and torch.is_grad_enabled():
        return "weight must not require grad where the target holds class ids"
    return None


def _takes_a_lone_label() -> bool:
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= LONE_LABEL_SINCE


def _autocasting() -> bool:
    """Whether autocast brings input and weight to float32; a stand-in does not say on which device it would be."""
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


def _all_ignored(call: Call, target: Tensor) -> bool:
    if target.device.type == "meta" or not call.values:
        return False
    ignored = operator.index(call.ignore_index)
    # Native compares in the target's own dtype, in which uint8 wraps modulo 256.
    return not bool((target != (ignored & 255 if target.dtype is torch.uint8 else ignored)).any())
