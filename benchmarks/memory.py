"""What a call allocates, counted by the profiler in torch's own allocator: to the byte, and whatever modes do.

What Python's objects take is added, as tracemalloc counts it.
"""

from __future__ import annotations

import json
import tracemalloc
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks import inputs, timing
from benchmarks.record import Held
from safe_ce import SafeCrossEntropyLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.inputs import Case
    from benchmarks.timing import Loss

SHAPES = ((512, 32000), (8, 21, 128, 128))
MIB = 2**20


def measure() -> Iterator[Held]:
    """What the guard holds at most at a time, and what that adds to native's peak."""
    for shape in SHAPES:
        yield from _of_case(inputs.of_shape(shape, recorded=True))


def _of_case(case: Case) -> Iterator[Held]:
    ((input, target),) = case.pairs

    def step(loss: Loss) -> None:
        loss(input, target).backward()
        input.grad = None

    ordinary = SafeCrossEntropyLoss(mode="default")
    timing.warm((ordinary,), case)
    losses = {
        "default, between looks": ordinary,
        "default, a look": SafeCrossEntropyLoss(mode="default", probe="every"),
        "strict": SafeCrossEntropyLoss(mode="strict"),
    }
    native = _peak(partial(step, nn.CrossEntropyLoss()))
    for call, loss in losses.items():
        with timing.stubbed():
            loss(input, target)  # what a first call imports is not a call's
            own = _peak(partial(loss, input, target)) + _of_python(partial(loss, input, target))
        over = _peak(partial(step, loss)) - native
        yield Held(case=case.name, call=call, own_mib=own / MIB, over_native_mib=over / MIB)


def _peak(call: Callable[[], object]) -> int:
    """The most bytes of tensors that are held at a time during a call, beyond those held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    held = most = 0
    for event in sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most


def _of_python(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
