"""On which calls values are looked at, outside strict mode: often at first, then ever more rarely."""

from __future__ import annotations

from typing import Literal, get_args

Probe = Literal["every", "scheduled", "never"]
PROBES: tuple[Probe, ...] = get_args(Probe)

LEAST = 1000
"""However long a run, one call in so many is looked at."""

KINDS = 64


def checked(probe: object) -> Probe:
    """Return ``probe`` if it says when values are looked at, else raise a ValueError that lists what does."""
    if probe not in PROBES:
        valid = ", ".join(repr(name) for name in PROBES)
        raise ValueError(f"probe must be one of {valid}, or None for what the mode says; got {probe!r}")
    return probe


def is_scheduled(number: int) -> bool:
    """Whether a look falls on this number, counted from 1: 1 to 10, 20 to 100, 200 to 1000, every 1000th."""
    return number % _step(number) == 0


def following(number: int) -> int:
    """The first number after this one that a look falls on."""
    step = _step(number)
    return (number // step + 1) * step


def _step(number: int) -> int:
    return min(LEAST, int("1".ljust(len(str(number)), "0")))


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
