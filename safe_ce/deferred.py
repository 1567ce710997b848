"""Values on an accelerator: what is needed of them is sent to the host, and read at a later call, once it is there.

The stream is never waited for, but by who asks (`flush`) and at the interpreter's exit. What is sent is sent before
native's own kernels, so that it arrives even where a label out of range ends the device's context.
"""

from __future__ import annotations

import atexit
import ctypes
import operator
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from safe_ce import probe
from safe_ce.locks import free_in_forks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.guard import Arguments, Settings
    from safe_ce.memory import Memory

AT_ONCE = ("cpu", "mps")
"""Devices whose values are read at once: the CPU's cost nothing, and MPS has no memory to send them to."""

UNDER_WAY = 8
"""Calls that may be under way at once; while so many are, no other is looked at."""

LABELS = 2**16
"""Labels that are sent whole, in every call; of more, scheduled calls send what a few reductions tell."""

SCORES = 2**14
"""Scores that are sent, in scheduled calls; two rows at least."""

NOT_YET = -(2**63) + 1
"""What is last in host memory until the labels are."""

LOSSES = 64
"""Losses of which something may be under way. Beyond, what is under way of the oldest is forgotten."""


class Event(Protocol):
    """A point in a device's stream."""

    def query(self) -> bool:
        """Whether the device is past it."""

    def synchronize(self) -> None:
        """Wait until it is."""


class Queue(Protocol):
    """How values get from a device to the host without waiting."""

    def allocate(self, tensor: Tensor) -> Tensor:
        """Host memory for what a tensor holds, from which and to which a copy waits for nothing."""

    def copy(self, tensor: Tensor, held: Tensor) -> None:
        """Copy, at this point of the stream, what a tensor holds."""

    def event(self, device: torch.device) -> Event:
        """This point of the device's current stream."""

    def is_capturing(self) -> bool:
        """Whether the current stream is recorded rather than run, and so must not be asked anything."""


class Accelerator:
    """CUDA's queue, ROCm's and XPU's: pinned memory and events."""

    def __init__(self, name: str) -> None:
        self._name = name

    def allocate(self, tensor: Tensor) -> Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)

    def copy(self, tensor: Tensor, held: Tensor) -> None:
        held.copy_(tensor, non_blocking=True)

    def event(self, device: torch.device) -> Event:
        module = torch.get_device_module(self._name)
        event: Event = module.Event()
        module.current_stream(device).record_event(event)
        return event

    def is_capturing(self) -> bool:
        asked = getattr(torch.get_device_module(self._name), "is_current_stream_capturing", None)
        return asked is not None and bool(asked())


QUEUES: dict[str, Queue] = {"cuda": Accelerator("cuda"), "xpu": Accelerator("xpu")}
"""By the device's type. What is in neither this nor `AT_ONCE` is read in strict mode alone."""


@dataclass(frozen=True, eq=False, slots=True)
class Evidence:
    """What was sent of one call.

    Attributes:
        number: Which call of its loss it was, from 1.
        settings: How it was guarded.
        arguments: The call's own, with (shape, dtype) in place of each tensor.
        parts: Host memory by what it will hold (see `parts`).
        event: The point of the stream at which it does.
        queue: How it was sent.
    """

    number: int
    settings: Settings
    arguments: Arguments
    parts: dict[str, Tensor]
    event: Event
    queue: Queue


def send(memory: Memory, settings: Settings, seen: Arguments, *, due: bool) -> None:
    """Send what is needed of a call's values, if its device can and not too much is under way."""
    input, target, weight, ignore_index, *rest = seen
    queue = QUEUES.get(input.device.type)
    if queue is None or len(memory.under_way) >= UNDER_WAY or target.device != input.device or queue.is_capturing():
        return
    with probe.unobserved():
        found = parts(input, target, weight, operator.index(ignore_index), due=due)
        if not found:
            return
        sent = {name: queue.allocate(part) for name, part in found.items()}
        if "labels" in sent and sent["labels"].dtype is torch.int64:
            sent["labels"].view(-1)[-1] = NOT_YET
        for name, part in found.items():
            queue.copy(part, sent[name])
        event = queue.event(input.device)
    told = [None if tensor is None else (tensor.shape, tensor.dtype) for tensor in (input, target, weight)]
    arguments: Arguments = (*told, ignore_index, *rest)
    memory.under_way.append(Evidence(memory.schedule.calls, settings, arguments, sent, event, queue))
    _unsaid[memory] = None
    if len(_unsaid) > LOSSES:
        forgotten = next(iter(_unsaid))
        del _unsaid[forgotten]
        forgotten.under_way.clear()


def parts(input: Tensor, target: Tensor, weight: Tensor | None, ignored: int, *, due: bool) -> dict[str, Tensor]:
    """Small tensors, on the device, that tell of a call's values. Nothing here waits for the device.

    ``labels`` are the class ids, whole or, beside a ``summary`` of them all, a sample. ``scores``, ``target_rows`` and
    ``weight`` are for calls that are due: a few rows of logits, a few of class probabilities, and the class weights.
    """
    found: dict[str, Tensor] = {}
    dim = 1 if input.ndim > 1 else 0
    if not input.is_floating_point() or target.is_complex():
        return found  # native refuses it
    if target.shape != input.shape and not target.is_floating_point() and target.numel():
        if target.numel() <= LABELS:
            found["labels"] = target.contiguous()
        elif due:
            found["labels"] = probe.thinned(target, limit=LABELS // 2).reshape(-1)
            found["summary"] = _summary(target, input.shape[dim], ignored)
    if due and input.numel():
        found["scores"] = probe.rows(input, dim, SCORES)
        if target.shape == input.shape and target.is_floating_point():
            found["target_rows"] = probe.rows(target, dim, SCORES)
        if weight is not None and weight.numel() <= LABELS:
            found["weight"] = weight
    return found


def _summary(target: Tensor, classes: int, ignored: int) -> Tensor:
    """Of class ids: the bounds of them all and of those that count, how many count, and how many are bad."""
    ids = target.reshape(-1).to(torch.int64)
    counts = ids != ignored
    bad = counts & ((ids < 0) | (ids >= classes))
    most = torch.iinfo(torch.int64).max
    low, high = torch.aminmax(ids)
    lowest, highest = torch.where(counts, ids, most).amin(), torch.where(counts, ids, -most).amax()
    return torch.stack([low, high, lowest, highest, counts.sum(), bad.sum()])


def arrived(memory: Memory, *, wait: bool = False) -> Iterator[Evidence]:
    """What has arrived since the last time, oldest first; with ``wait`` everything that was sent."""
    while True:
        with _lock:
            if not memory.under_way:
                break
            first = memory.under_way[0]
            try:
                if wait:
                    first.event.synchronize()
                elif first.queue.is_capturing() or not first.event.query():
                    return
            except RuntimeError:  # the device's context has ended: see `survivors`
                return
            memory.under_way.popleft()
        yield first
    _unsaid.pop(memory, None)


def unsaid() -> tuple[Memory, ...]:
    """What belongs to the calls of which something is under way, oldest first."""
    return tuple(_unsaid)


def forget() -> None:
    """Forget all that is under way."""
    for memory in unsaid():
        memory.under_way.clear()
    _unsaid.clear()


def survivors(memory: Memory) -> list[Evidence]:
    """What had arrived, labels at least, of calls under way when the device's context ended; none if it has not."""
    with _lock:
        left = tuple(memory.under_way)
        try:
            for evidence in left[:1]:
                evidence.event.query()
        except RuntimeError:
            memory.under_way.clear()
        else:
            return []
    _unsaid.pop(memory, None)
    for evidence in left:
        # Torch's allocator of pinned memory asks the device when it is given back, which after the context's end
        # ends the process. So it never is: this adds a reference that nobody has.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(evidence))
    return [evidence for evidence in left if _has_labels(evidence)]


def _has_labels(evidence: Evidence) -> bool:
    labels = evidence.parts.get("labels")
    return labels is not None and labels.dtype is torch.int64 and int(labels.view(-1)[-1]) != NOT_YET


_lock = free_in_forks(threading.Lock())
_unsaid: dict[Memory, None] = {}
"""The losses of which something is under way, oldest first."""

_process = os.getpid()


@atexit.register
def _say_the_rest() -> None:
    """At the interpreter's exit: report what was sent and not yet read."""
    if not _unsaid or os.getpid() != _process:  # what a forked process inherits is its parent's to say
        return
    from safe_ce import verdict
    from safe_ce.faults import log_fault
    from safe_ce.findings import SafeCrossEntropyError, SafeCrossEntropyWarning

    for memory in unsaid():
        while memory.under_way:
            try:
                verdict.flush(memory, memory.under_way[0].settings)
            except (SafeCrossEntropyError, SafeCrossEntropyWarning) as error:
                print(f"safe_ce, as the interpreter exits:\n{error}", file=sys.stderr)
            except Exception as fault:
                log_fault(fault, "on_finding raised {} as the interpreter exits")
