"""On which calls values are looked at, outside strict mode: often at first, then ever more rarely."""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal, get_args

Probe = Literal["every", "scheduled", "never"]
PROBES: tuple[Probe, ...] = get_args(Probe)

FIRST = 10
"""Calls that are all looked at, to begin with."""

LEAST = 997
"""However long a run, one call in so many is looked at. Prime, as no number of losses in a step is a multiple of it."""

KINDS = 64


def checked(probe: object) -> Probe | None:
    """Return ``probe`` if it says when values are looked at, or is None; else raise a ValueError that lists what does."""
    if probe is not None and probe not in PROBES:
        valid = ", ".join(repr(name) for name in PROBES)
        raise ValueError(f"probe must be one of {valid}, or None for what the mode says; got {probe!r}")
    return probe


def _early() -> tuple[int, ...]:
    numbers = [1]
    while numbers[-1] < 4 * LEAST:
        number = numbers[-1]
        # Odd gaps, so that of a program that calls a loss several times a step each of these calls is looked at.
        numbers.append(number + (1 if number < FIRST else min(LEAST, number // 4 | 1)))
    return tuple(numbers)


_EARLY = _early()
_LAST = _EARLY[-1]


def is_scheduled(number: int) -> bool:
    """Whether a look falls on this number, counted from 1: 1 to 10, 13, 16, 21, 26, 33, 42, 53, 66, 83, 104, ..."""
    return number in _EARLY if number <= _LAST else (number - _LAST) % LEAST == 0


def following(number: int) -> int:
    """The first number after this one that a look falls on."""
    if number < _LAST:
        return _EARLY[bisect_right(_EARLY, number)]
    return number + LEAST - (number - _LAST) % LEAST


class Schedule:
    """The calls of one loss, and which of them are looked at.

    A kind of call that was not met before (its dtypes, its device, whether a graph is recorded) begins the schedule
    anew. So does a new shape of a known kind; but shapes that are new at every call, as those of language models are,
    do so ever more rarely themselves.

    Attributes:
        calls: How many calls there were.
        due: The number of the next call that is looked at. Up to it a call need only be counted.
    """

    __slots__ = ("_kinds", "_new_shapes", "_start", "calls", "due")

    def __init__(self) -> None:
        self.calls = 0
        self.due = 1
        self._start = 0
        self._new_shapes = 0
        self._kinds: set[object] = set()

    def meet(self, kind: object) -> None:
        """Hear of a call, not yet counted, of a signature that is not remembered."""
        if kind in self._kinds:
            self._new_shapes += 1
            if not is_scheduled(self._new_shapes):
                return
        elif len(self._kinds) < KINDS:
            self._kinds.add(kind)
        self._start = self.calls
        self.due = self.calls + 1

    def begin_again(self) -> None:
        """Look at the next call, whatever was planned."""
        self._start = self.calls
        self.due = 0

    def count(self, probe: Probe) -> bool:
        """Count a call, and say whether its values are looked at."""
        calls = self.calls = self.calls + 1
        if probe == "every":
            self.due = calls + 1
        elif probe == "never":
            self.due = calls + LEAST  # and then asks again
            return False
        elif calls < self.due:
            return False
        else:
            self.due = self._start + following(calls - self._start)
        return True
