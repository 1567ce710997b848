"""Looking at values: what may be read, how much of it, and whether a call deserves a closer look.

Everything that reads a tensor's values goes through this file. Values are read synchronously, and in pieces:
no reading allocates more than a few MiB, whatever the tensor's size.
"""

from __future__ import annotations

import math
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from safe_ce.locks import free_in_forks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PIECE = 2**20
"""Elements read at once."""

SAMPLE = 2**16
"""Elements that a diagnosis reads of a tensor of which a sample is enough."""

GLANCE = 2**12
"""Elements that a look reads of the logits; two rows at least, however long they are."""


def as_plain(value: object) -> Tensor | None:
    """An ordinary tensor, or what is behind a subclass that only adds methods; None for anything else.

    The shape of an ordinary tensor is a tuple of ints, and nothing of the user's runs when it is asked for.
    """
    if type(value) is Tensor or type(value) is torch.nn.Parameter:
        return value
    if isinstance(value, Tensor) and type(value).__torch_dispatch__ is Tensor.__torch_dispatch__:
        with torch._C.DisableTorchFunctionSubclass():
            return value.as_subclass(Tensor)
    return None


def is_readable(tensor: object) -> bool:
    """Whether a tensor's values can be read without side effects for anyone else.

    Not those of fake, functorch-wrapped, distributed and other tensors that dispatch to Python, nor those of
    meta tensors, nor where a graph is being traced.
    """
    return (
        isinstance(tensor, Tensor)
        and type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
        and tensor.device.type != "meta"
        and tensor.layout is torch.strided
        and not tensor.is_quantized
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and not torch._C._is_tracing()
        and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
    )


@contextmanager
def hidden() -> Iterator[None]:
    """Run tensor operations that no mode of the user's, no tracer and no counter of operations sees."""
    with torch._C.DisableTorchFunction():
        if torch._C._len_torch_dispatch_stack():
            with _disable_current_modes():
                yield
        else:
            yield


_filters = free_in_forks(threading.RLock())


@contextmanager
def unwarned() -> Iterator[None]:
    """Run what may warn, unheard. Python's filters are the process's: of two threads that change them at once, the last
    one out would put back what the other had put there."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def unobserved() -> Iterator[None]:
    """Run tensor operations that nobody sees and no graph records."""
    # In this order, so that no function mode sees even the switch of the grad mode.
    with hidden(), torch.no_grad():
        yield


def pieces(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor in pieces of about `PIECE` elements or fewer, cut along its leading dimensions.

    They are views, or small copies where the dtype has no comparisons of its own.
    """
    for piece in _views(tensor):
        if piece.dtype in _UNSIGNED:  # uint8 among them: it would wrap what it is compared with
            yield piece.to(torch.int64)
        elif piece.is_floating_point() and piece.dtype not in _FLOATS:
            yield piece.float()
        else:
            yield piece


_UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _views(tensor: Tensor) -> Iterator[Tensor]:
    # An expanded tensor repeats itself: one copy of it says everything.
    for dim in range(tensor.ndim):
        if tensor.stride(dim) == 0 and tensor.shape[dim] > 1:
            tensor = tensor.narrow(dim, 0, 1)
    if tensor.numel() <= PIECE or tensor.ndim == 0:
        if tensor.numel():
            yield tensor
        return
    if tensor.is_contiguous():
        yield from tensor.view(-1).split(PIECE)
        return
    yield from _slabs(tensor)


def thinned(tensor: Tensor, keep: int | None = None, limit: int = SAMPLE) -> Tensor:
    """An evenly spread part of a tensor, of at most about ``limit`` elements, as a view.

    The dimension ``keep`` stays whole, and at least two rows stay beside it where there are two.
    """
    while tensor.numel() > limit:
        free = [dim for dim, size in enumerate(tensor.shape) if dim != keep and size > 1]
        largest = max(free, key=tensor.shape.__getitem__, default=None)
        if largest is None:
            break
        size = tensor.shape[largest]
        most = size - 1 if keep is not None and len(free) == 1 else size
        step = min(-(-tensor.numel() // limit), most)
        if step < 2:
            break
        # Not by an index in brackets, which asks for the device's context before anything else.
        tensor = torch.ops.aten.slice(tensor, largest, 0, None, step)
    return tensor


def rows(tensor: Tensor, dim: int, limit: int = SAMPLE) -> Tensor:
    """A sample of the vectors along ``dim``, as a ``(rows, size)`` tensor of float32 or float64."""
    part = thinned(tensor, dim, limit).movedim(dim, -1)
    flat = part.reshape(-1, part.shape[-1])
    return flat if flat.dtype is torch.float64 else flat.float()


def extremes(tensor: Tensor) -> tuple[float, float]:
    """The smallest and the largest value of a non-empty real tensor; NaN where there is one."""
    low, high = math.inf, -math.inf
    for piece in pieces(tensor):
        smallest, largest = bounds(piece)
        if math.isnan(smallest):
            return math.nan, math.nan
        low, high = min(low, smallest), max(high, largest)
    return low, high


def bounds(part: Tensor) -> tuple[float, float]:
    """The smallest and the largest value of a small, non-empty, real tensor."""
    low, high = torch.aminmax(part)
    return low.item(), high.item()


EPSILON = {torch.float16: 4e-3, torch.bfloat16: 3e-2}


ROUNDED = 1e-2
"""How far from 1 the sum of a row of probabilities may be that were once rounded to half precision."""


def sum_tolerance(dtype: torch.dtype) -> float:
    """How far from 1 the sum of a softmax's row may be, rounded to ``dtype``."""
    return EPSILON.get(dtype, 1e-5)


def deserves_a_closer_look(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    *,
    thorough: bool,
    labels: bool,
) -> bool:
    """Whether the values of a call that meets the contract may show a mistake. Errs towards yes.

    Args:
        input: The logits, readable.
        target: Class ids or class probabilities, readable.
        weight: Class weights, readable, or None.
        ignore_index: As native's.
        label_smoothing: As native's.
        thorough: Read everything, rather than a bounded sample of the logits.
        labels: Read the class ids. Without, it is native that tells of a bad one, and its loss of a target that is
            ignored whole.
    """
    dim = 1 if input.ndim > 1 else 0
    with unobserved():
        if not input.is_floating_point() or target.is_complex() or not isinstance(label_smoothing, (int, float)):
            return False  # native refuses it, or takes what is no mistake
        if not input.numel():
            return True
        if input.dtype is torch.float16 and input.numel() // input.shape[dim] > 4_000:
            return True
        soft = input.shape == target.shape
        probabilities = _parts(target, dim, thorough) if soft else None
        scores = _parts(input, dim, thorough)
        if odd_values(input.shape, input.dtype, scores, probabilities, dim, weight, label_smoothing):
            return True
        return labels and not soft and odd_ids(target, input.shape, ignore_index)


def odd_values(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    scores: Iterable[Tensor],
    probabilities: Iterable[Tensor] | None,
    dim: int,
    weight: Tensor | None,
    label_smoothing: float,
) -> bool:
    """Whether what was read of a call, but for its class ids, may show a mistake.

    Args:
        shape: The logits'.
        dtype: The logits'.
        scores: What was read of them, with classes in ``dim``.
        probabilities: What was read of the target, with classes in ``dim``; None where it holds ids.
        dim: Where the classes are in what was read.
        weight: Class weights, or None.
        label_smoothing: As native's.
    """
    if shape[1 if len(shape) > 1 else 0] == 1 or not 0.0 <= label_smoothing < 1.0:
        return True
    if weight is not None and _odd_weight(weight):
        return True
    if _odd_scores(scores, dtype, dim, single=len(shape) == 1):
        return True
    if probabilities is not None:
        return _odd_probabilities(probabilities, dim)
    # The classes may be in the last dimension, of as many classes as steps.
    return len(shape) > 2 and shape[-1] == shape[1]


def _parts(tensor: Tensor, dim: int, thorough: bool) -> Iterator[Tensor]:
    """Views in which ``dim`` is whole: of everything, or one of a bounded sample."""
    if thorough:
        yield from _slabs(tensor, dim)
    else:
        yield thinned(tensor, dim, GLANCE)


def _slabs(tensor: Tensor, whole: int | None = None) -> Iterator[Tensor]:
    """Views of `PIECE` elements or fewer, cut along any dimension but ``whole``; one row at least."""
    free = [dim for dim, size in enumerate(tensor.shape) if dim != whole and size > 1]
    if tensor.numel() <= PIECE or not free:
        yield tensor
        return
    cut = free[0]
    for part in tensor.split(max(1, PIECE * tensor.shape[cut] // tensor.numel()), cut):
        yield from _slabs(part, whole)


def _odd_weight(weight: Tensor) -> bool:
    """Whether a class weight is 0, negative or not finite."""
    return weight.dtype in _FLOATS and not bool(((weight > 0) & weight.isfinite()).all())


def _odd_scores(parts: Iterable[Tensor], dtype: torch.dtype, dim: int, *, single: bool) -> bool:
    """Whether scores of a dtype, with classes in ``dim``, are not finite, or distributions, or in a ``single`` row."""
    if single:
        return True  # whole numbers are predicted ids, and a batch may have been taken for a row
    tolerance = max(sum_tolerance(dtype), ROUNDED)
    sums_to_one, lowest, count = True, math.inf, 0
    for part in parts:
        sums = _sums(part, dim)
        low, high = bounds(sums)
        if not (math.isfinite(low) and math.isfinite(high)):
            return True
        count += sums.numel()
        sums_to_one = sums_to_one and low > 1 - tolerance and high < 1 + tolerance
        if sums_to_one:
            lowest = min(lowest, part.min().item())
    return sums_to_one and count > 1 and lowest >= 0


def _odd_probabilities(parts: Iterable[Tensor], dim: int) -> bool:
    """Whether class probabilities, with classes in ``dim``, are one-hot, or no distributions."""
    for part in parts:
        low, high = bounds(_sums(part, dim))
        if not (low > 1 - 5e-3 and high < 1 + 5e-3):
            return True
        smallest, largest = bounds(part)
        if not smallest >= 0 or not largest < 1:
            return True
    return False


def _sums(part: Tensor, dim: int) -> Tensor:
    return part.sum(dim) if part.dtype is torch.float64 else part.sum(dim, dtype=torch.float32)


def odd_ids(target: Tensor, shape: tuple[int, ...], ignore_index: int) -> bool:
    """Whether class ids for logits of a shape are out of range, or all ignored."""
    classes = shape[1] if len(shape) > 1 else shape[0]
    kept = _counted(target, classes, ignore_index)
    return kept is None or kept[0] < 0 or kept[1] >= classes


def labels_fit(input: Tensor, target: Tensor, ignore_index: int) -> bool:
    """Whether every class id of a call that meets the contract is one that native takes; class probabilities do."""
    if target.shape == input.shape or target.is_floating_point():
        return True
    classes = input.shape[1] if input.ndim > 1 else input.shape[0]
    with unobserved():
        kept = _counted(target, classes, ignore_index)
    return kept is None or (kept[0] >= 0 and kept[1] < classes)


def _counted(target: Tensor, classes: int, ignore_index: int) -> tuple[float, float] | None:
    """The bounds of the class ids that are not ignored, those of the first bad piece if any; None if all are."""
    if not target.numel():
        return None
    # Ids that are never negative and stay below C are the common case, and two reductions tell it.
    low, high = extremes(target)
    if low >= 0 and high < classes:
        return None if low == high == ignore_index else (low, high)
    found = None
    for piece in pieces(target):
        kept = piece[piece != ignore_index]
        if kept.numel():
            found = bounds(kept)
            if found[0] < 0 or found[1] >= classes:
                break
    return found
