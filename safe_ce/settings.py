"""What may be set beside native's own options: on a loss, by a caller of the function, or for native's own callers."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from safe_ce import modes, schedule
from safe_ce.contexts import holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from safe_ce.findings import OnFinding
    from safe_ce.modes import Mode
    from safe_ce.schedule import Probe


class Caller(NamedTuple):
    """How calls of the function are to be guarded, by who makes them or put the guard there."""

    mode: Mode | None = None
    probe: Probe | None = None
    ignore: tuple[str, ...] = ()
    on_finding: OnFinding = None


NOBODY = Caller()
GUARDED_ALREADY = Caller()
"""Stands for the caller where a guarded call passes through code that may call native's function itself."""

everywhere: Caller | None = None
"""How native's own callers are guarded in the whole process, if they are."""

_innermost: ContextVar[Caller | None] = ContextVar("safe_ce_guarded", default=None)
_here = _innermost.get


def active() -> Caller | None:
    """How native's own callers are guarded here, or None where they are not."""
    caller = _here() or everywhere
    return None if caller is GUARDED_ALREADY else caller


def here(caller: Caller) -> AbstractContextManager[None]:
    """Guard native's own callers in this thread, or asynchronous task."""
    return holding(_innermost, caller)


def caller(
    mode: Mode | None = None, probe: Probe | None = None, ignore: Iterable[str] = (), on_finding: OnFinding = None
) -> Caller:
    """Check how calls are to be guarded."""
    if mode is None and probe is None and not ignore and on_finding is None:
        return NOBODY
    return Caller(
        None if mode is None else modes.checked(mode),
        schedule.checked(probe),
        checked_causes(ignore),
        checked_callback(on_finding),
    )


def checked_callback(on_finding: OnFinding) -> OnFinding:
    """Return ``on_finding`` if it may be called, or is None."""
    if on_finding is not None and not callable(on_finding):
        raise TypeError(f"on_finding must be callable, not {type(on_finding).__name__}")
    return on_finding


def checked_causes(names: Iterable[str]) -> tuple[str, ...]:
    """The names of the causes that are given by name or code; a ValueError lists the valid ones."""
    if isinstance(names, str):
        raise TypeError(f"ignore must be a collection of cause names or codes, such as ({names!r},)")
    names = tuple(names)
    if not names:
        return ()
    from safe_ce.causes import CATALOGUE

    known = {key: entry.name for entry in CATALOGUE for key in (entry.name, entry.code)}
    unknown = [name for name in names if name not in known]
    if unknown:
        valid = ", ".join(f"{entry.code} {entry.name}" for entry in CATALOGUE)
        raise ValueError(f"ignore names no cause: {', '.join(map(repr, unknown))}; the causes are {valid}")
    return tuple(known[name] for name in names)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "mode": lambda mode: None if mode is None else modes.checked(mode),
    "probe": schedule.checked,
    "ignore": checked_causes,
    "on_finding": checked_callback,
}
"""By the attribute: what it is set to, as it is kept; an error that lists what is valid for anything else."""
