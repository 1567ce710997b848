"""What is said of the guard's own faults: they are logged, and nobody's training stops for them."""

from __future__ import annotations

import logging

from safe_ce.interruptions import interrupts

log = logging.getLogger("safe_ce")
_faults: set[str] = set()
FAULTS = 64
"""Kinds of faults that are told apart."""


def log_fault(fault: Exception, what: str = "safe_ce could not diagnose a call ({}); please report this") -> None:
    """Log a fault of the guard's own, or of a callback, once per kind: it must not stop anybody's training."""
    if interrupts(fault):
        raise fault
    kind = f"{type(fault).__name__}: {fault}"
    if kind not in _faults and len(_faults) < FAULTS:
        _faults.add(kind)
        log.error("%s", what.format(kind), exc_info=fault)
