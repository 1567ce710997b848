"""The guard on a GPU: what a step takes of the host and of the device, and how often the host waits for the device."""

from __future__ import annotations

import timeit
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import inputs
from benchmarks.record import Step
from safe_ce import SafeCrossEntropyLoss
from safe_ce.modes import MODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPS = 200
"""Steps in which the host's waits are counted: the first ones, when looks are most frequent."""

REPEATS = 20


def measure() -> Iterator[Step]:
    """Native and every mode at every size; nothing where there is no GPU."""
    if not torch.cuda.is_available():
        return
    for shape in inputs.SIZES:
        case = inputs.of_shape(shape, recorded=False)
        input, target = (tensor.cuda() for tensor in case.pairs[0])
        input.requires_grad_()
        losses: dict[str, nn.Module] = {"native": nn.CrossEntropyLoss()}
        losses |= {mode: SafeCrossEntropyLoss(mode=mode) for mode in MODES}
        for name, loss in losses.items():
            step = _step(loss, input, target)
            waits = _waits(step)
            host, device = _host(step), _device(step)
            yield Step(case=case.name, loss=name, host_us=host, device_us=device, synchronisations=waits, steps=STEPS)


def _step(loss: nn.Module, input: Tensor, target: Tensor) -> Callable[[], None]:
    def step() -> None:
        loss(input, target).backward()
        input.grad = None

    return step


def _waits(step: Callable[[], None]) -> int:
    """How often the host waited for the device in the first steps."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(STEPS):
                step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def _host(step: Callable[[], None]) -> float:
    """Microseconds that a step takes of the host: the device is idle at first, and is not waited for at the end."""
    times = timeit.repeat(step, torch.cuda.synchronize, repeat=REPEATS, number=STEPS // 10)
    torch.cuda.synchronize()
    return sorted(times)[len(times) // 2] / (STEPS // 10) * 1e6


def _device(step: Callable[[], None]) -> float:
    """Microseconds that a step's kernels and copies keep the device busy."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    # An operator's entry repeats the time of its kernels, which have entries of their own.
    entries = (entry for entry in recorded.key_averages() if entry.device_type is not DeviceType.CPU)
    return sum(float(entry.self_device_time_total) for entry in entries) / STEPS
