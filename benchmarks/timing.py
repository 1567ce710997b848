"""How time is taken: contestants in turn, block by block, and of each the mean of its quiet fifth.

A ratio near 1 is not to be had from two noisy times. It is had from two quiet ones: the guard's own time, which is
taken with native stubbed out of the guarded loss and of native's module alike, and native's own.
"""

from __future__ import annotations

import random
import timeit
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from safe_ce import schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.inputs import Case

Loss = Callable[[Tensor, Tensor], Any]

BLOCK = schedule.LEAST
"""Calls in a block of cheap ones: however long the run, one of so many is looked at."""

RARE = 5
"""Blocks of calls after which no more than one look falls on each."""

SHORTEST_BLOCK = 4e-3
"""Seconds that a block of dear calls takes at least."""

_FORWARD = "for input, target in pairs:\n    loss(input, target)"
_BACKWARD = "for input, target in pairs:\n    loss(input, target).backward()\n    input.grad = None"
_CONSTANT = torch.tensor(2.25)


@dataclass(frozen=True)
class Contestant:
    """What is timed.

    Attributes:
        timer: Runs the statement.
        number: How often the statement runs in a block.
        calls: Calls of the loss in a statement.
        around: What every block runs in.
    """

    timer: timeit.Timer
    number: int
    calls: int
    around: Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Attributes:
        rounds: Blocks of each contestant, at most.
        seconds: When a measurement ends that has not had so many.
    """

    rounds: int
    seconds: float


LEAST_ROUNDS = 15


def stubbed() -> AbstractContextManager[object]:
    """Put a constant in place of native's function, for the guard's own time."""
    return mock.patch.object(F, "cross_entropy", _stub)


def own(loss: Loss, case: Case, number: int | None = None) -> Contestant:
    """A loss with native stubbed out: what is around native, and nothing of native."""
    return _contestant(loss, case, _FORWARD, number, stubbed)


def whole(
    loss: Loss,
    case: Case,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
    number: int | None = None,
) -> Contestant:
    """A loss as it is used, with the backward pass where a graph is recorded."""
    return _contestant(loss, case, _BACKWARD if case.recorded else _FORWARD, number, around)


def in_blocks(case: Case) -> int:
    """How often a statement runs for a block of calls that holds one scheduled look."""
    return -(-BLOCK // len(case.pairs))


def warm(losses: Iterable[Loss], case: Case) -> None:
    """Let guarded losses see the shapes, and get past the frequent looks of the first calls."""
    with stubbed():
        for loss in losses:
            for _ in range(RARE * in_blocks(case)):
                for input, target in case.pairs:
                    loss(input, target)


def interleaved(contestants: dict[str, Contestant], effort: Effort) -> dict[str, list[float]]:
    """Time blocks of all contestants, round by round and each round in another order; seconds a call, by round."""
    order = list(contestants)
    shuffle = random.Random(0).shuffle  # noqa: S311 - nothing is kept secret
    taken: dict[str, list[float]] = {name: [] for name in order}
    end = perf_counter() + effort.seconds
    for done in range(effort.rounds):
        if done >= LEAST_ROUNDS and perf_counter() > end:
            break
        shuffle(order)
        for name in order:
            taken[name].append(_block(contestants[name]))
    return taken


def quiet(times: Sequence[float]) -> float:
    """The mean of the fastest fifth, in microseconds."""
    fastest = sorted(times)[: max(1, len(times) // 5)]
    return sum(fastest) / len(fastest) * 1e6


def spread(times: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """The 10th percentile, the median and the 90th percentile of what one took over what the other did, by round."""
    ratios = sorted(time / other for time, other in zip(times, reference, strict=True))
    last = len(ratios) - 1
    return ratios[round(0.1 * last)], ratios[round(0.5 * last)], ratios[round(0.9 * last)]


def _contestant(
    loss: Loss, case: Case, statement: str, number: int | None, around: Callable[[], AbstractContextManager[object]]
) -> Contestant:
    timer = timeit.Timer(statement, globals={"loss": loss, "pairs": case.pairs})
    if number is None:
        with around():
            once = min(timer.repeat(3, 1))
        number = max(1, min(in_blocks(case), round(SHORTEST_BLOCK / once)))
    return Contestant(timer, number, len(case.pairs), around)


def _block(contestant: Contestant) -> float:
    with contestant.around():
        return contestant.timer.timeit(contestant.number) / (contestant.number * contestant.calls)


def _stub(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    del input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing
    return _CONSTANT
