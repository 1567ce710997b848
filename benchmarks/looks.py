"""What one scheduled look costs in default mode, and how a call's cost grows with N and with C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from benchmarks import inputs, timing
from benchmarks.record import Growth, Look
from safe_ce import SafeCrossEntropyLoss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.timing import Effort

SMALLEST = (32, 10)
AXES = {
    "N": (SMALLEST, (512, 10), (8192, 10), (131072, 10), (1638400, 10)),
    "C": (SMALLEST, (32, 160), (32, 2560), (32, 40960), (32, 512000)),
    "N and C": (SMALLEST, (128, 1000), (512, 32000)),
}


def measure(shape: tuple[int, ...], effort: Effort) -> Look:
    """What a call with logits of a shape costs of the guard's own time, between two looks and in one."""
    case = inputs.of_shape(shape, recorded=True)
    guarded = SafeCrossEntropyLoss(mode="default")
    looking = SafeCrossEntropyLoss(mode="default", probe="every")
    timing.warm((guarded,), case)
    times = timing.interleaved(
        {
            "native": timing.own(nn.CrossEntropyLoss(), case, timing.in_blocks(case)),
            "scheduled": timing.own(guarded, case, timing.in_blocks(case)),
            "every": timing.own(looking, case),
        },
        effort,
    )
    native, scheduled, every = (timing.quiet(times[name]) for name in ("native", "scheduled", "every"))
    # A scheduled call costs ordinary + look / BLOCK, as each block holds one look, and every one ordinary + look.
    look = (every - scheduled) / (1 - 1 / timing.BLOCK)
    return Look(
        case=case.name,
        elements=inputs.elements(shape),
        ordinary_us=every - native - look,
        look_us=look,
        per_call_us=scheduled - native,
        every=timing.BLOCK,
    )


def grown(effort: Effort) -> Iterator[Growth]:
    """The same along each axis, from 320 scores to 16,384,000."""
    for axis, shapes in AXES.items():
        yield Growth(axis=axis, looks=[measure(shape, effort) for shape in shapes])
