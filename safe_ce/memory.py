"""What is remembered of the calls of a loss, or of a place in the program; and the counts of all of them together."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from safe_ce.locks import free_in_forks
from safe_ce.schedule import Schedule

if TYPE_CHECKING:
    import torch

    from safe_ce.deferred import Evidence
    from safe_ce.findings import Finding

EARLIER = 4
SHAPES = 256


class Signature(NamedTuple):
    """What sound calls with logits of one shape may still differ in.

    Attributes:
        target: The target's shape.
        dtype: The logits' dtype.
        target_dtype: The target's dtype.
        device: Where the logits are.
        recorded: Whether a graph is recorded.
        node: The class of the logits' autograd node, where that alone tells that no activation made them.
        reading: Which losses are read: `guard.ALWAYS`, `guard.NOW_AND_THEN` or `guard.NEVER`.
    """

    target: torch.Size
    dtype: torch.dtype
    target_dtype: torch.dtype
    device: torch.device
    recorded: bool
    node: type
    reading: int


@dataclass(frozen=True)
class Stats:
    """Counts for a metrics exporter. They only ever grow.

    Attributes:
        calls: Guarded calls.
        probes: Those of which values were looked at.
        findings: How often each cause was found, by its name. A mistake that shapes or the autograd graph show is
            found in every call, one that values show in those that are looked at.
    """

    calls: int = 0
    probes: int = 0
    findings: dict[str, int] = field(default_factory=dict)


Stats.__module__ = "safe_ce"  # the public name is what a reader should see


@dataclass(slots=True, eq=False, weakref_slot=True)
class Memory:
    """What is remembered of calls: shapes, counts and findings. Never a tensor of the user's.

    Attributes:
        schedule: The number of calls, and of the next one whose values are looked at.
        sound: The signatures of sound calls, by the shape of the logits.
        latest: The shape of the logits in the last sound call.
        announced: The findings that were warned about, by cause.
        streaks: Of the causes that need patience: the looks in a row that found them.
        odd_losses: How many losses that were read were NaN.
        under_way: What an accelerator has yet to deliver, oldest first.
        probes: The number of calls whose values were looked at.
        found: How often each cause was found.
    """

    schedule: Schedule = field(default_factory=Schedule)
    sound: dict[torch.Size, Signature] = field(default_factory=dict)
    latest: torch.Size | None = None
    announced: dict[str, Finding] = field(default_factory=dict)
    streaks: dict[str, int] = field(default_factory=dict)
    odd_losses: int = 0
    under_way: deque[Evidence] = field(default_factory=deque)
    probes: int = 0
    found: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        _living[id(self)] = self

    def __del__(self) -> None:
        if _gone is None:  # the interpreter exits
            return
        _gone.append(self.stats)
        if len(_gone) > GONE and _adding.acquire(blocking=False):
            try:
                _add_up()
            finally:
                _adding.release()

    @property
    def stats(self) -> Stats:
        """The counts so far."""
        return Stats(self.schedule.calls, self.probes, dict(self.found))

    @property
    def earlier(self) -> tuple[tuple[torch.Size, torch.Size], ...]:
        """The shapes of input and target in a few of the sound calls, the last one last."""
        seen = {shape: signature.target for shape, signature in tuple(self.sound.items())[-EARLIER:]}
        latest = self.latest
        last = None if latest is None else self.sound.get(latest)
        if latest is not None and last is not None:
            seen.pop(latest, None)
            seen[latest] = last.target
        return tuple(seen.items())[-EARLIER:]

    def remember(self, shape: torch.Size, signature: Signature) -> None:
        """Hear of a sound call with logits of this shape."""
        if len(self.sound) >= SHAPES and shape not in self.sound:
            self.sound.pop(next(iter(list(self.sound)), shape), None)  # a list, as other threads may add to it
        self.sound[shape] = signature
        self.latest = shape


LOSSES: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""Every loss there is, by its id: compiled code knows no more of the one that it calls."""

GONE = 64
"""Memories that may be gone before their counts are added up."""


class Sighting(NamedTuple):
    """The first time that this process found a cause: the finding, and the line of the program that made the call."""

    finding: Finding
    place: str


FIRST: dict[str, Sighting] = {}
"""By cause."""

_living: WeakValueDictionary[int, Memory] = WeakValueDictionary()
_gone: deque[Stats] = deque()
_total = Stats()
_adding = free_in_forks(threading.Lock())

CONSTRUCTIONS = Memory()
"""Counts what was found in what constructors were given."""


def stats() -> Stats:
    """The counts of every guarded call of this process: of losses, of the function, and of native's where patched.

    Example:
        >>> import safe_ce
        >>> sorted(vars(safe_ce.stats()))
        ['calls', 'findings', 'probes']
    """
    with _adding:
        # Held first: a memory that went between the two would be in neither.
        living = [memory for reference in _living.valuerefs() if (memory := reference()) is not None]
        _add_up()
        return _sum([_total, *(memory.stats for memory in living)])


def _add_up() -> None:
    global _total  # noqa: PLW0603 - the counts of the process are the process's
    gone = []
    while _gone:
        gone.append(_gone.popleft())
    _total = _sum([_total, *gone])


def _sum(parts: list[Stats]) -> Stats:
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part.findings)
    return Stats(sum(part.calls for part in parts), sum(part.probes for part in parts), dict(found))
