"""The guard against native, in every mode: its own time, and both as they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from benchmarks import inputs, timing
from benchmarks.record import Overhead
from safe_ce import SafeCrossEntropyLoss
from safe_ce.modes import MODES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.inputs import Case
    from benchmarks.timing import Effort

NATIVE = "native"


def cases() -> Iterator[Case]:
    """Every size, and new shapes at every call, without a graph and with one."""
    for recorded in (False, True):
        for shape in inputs.SIZES:
            yield inputs.of_shape(shape, recorded=recorded)
        yield inputs.of_new_shapes(recorded=recorded)


def measure(case: Case, effort: Effort) -> list[Overhead]:
    """What each mode costs in a case."""
    native = nn.CrossEntropyLoss()
    guarded: dict[str, nn.Module] = {mode: SafeCrossEntropyLoss(mode=mode) for mode in MODES}
    timing.warm((guarded[mode] for mode in MODES if mode != "strict"), case)

    # In strict mode every call is looked at, so that any number of calls is a fair block.
    blocks = {mode: None if mode == "strict" else timing.in_blocks(case) for mode in guarded}
    alone = {mode: timing.own(loss, case, blocks[mode]) for mode, loss in guarded.items()}
    stubbed = timing.interleaved({NATIVE: timing.own(native, case, timing.in_blocks(case)), **alone}, effort)
    own = {mode: timing.quiet(stubbed[mode]) - timing.quiet(stubbed[NATIVE]) for mode in MODES}

    # The same number of calls for all, so that the blocks of a round are pairs.
    reference = timing.whole(native, case)
    used = {mode: timing.whole(loss, case, number=reference.number) for mode, loss in guarded.items()}
    together = timing.interleaved({NATIVE: reference, **used}, effort)
    native_us = timing.quiet(together[NATIVE])

    return [
        Overhead(
            case=case.name,
            phase=case.phase,
            mode=mode,
            own_us=own[mode],
            native_us=native_us,
            ratio=1 + own[mode] / native_us,
            paired=timing.spread(together[mode], together[NATIVE]),
            rounds=len(together[mode]),
        )
        for mode in MODES
    ]
