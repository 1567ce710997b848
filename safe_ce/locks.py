"""Locks that a fork waits for: a child would else wait for ever for one that another thread of its parent held."""

from __future__ import annotations

import os
from typing import Any, TypeVar

L = TypeVar("L", bound=Any)


def free_in_forks(lock: L) -> L:
    """Have a lock be free in every process that is forked from here on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
