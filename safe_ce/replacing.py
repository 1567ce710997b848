"""A method of torch's that something else stands in for, while anybody needs it to."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safe_ce.locks import free_in_forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Replacement:
    """What stands in for an attribute, in all threads, from the first that needs it to the last.

    Where somebody else has put something in its place meanwhile, as torch's tracer does with constructors, that is left
    there. What stands in is then still called, and asks whether it is needed. It is not for functions that the tracer knows
    by identity.
    """

    def __init__(self, owner: Any, name: str, made_of: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._made_of = made_of
        self._lock = free_in_forks(threading.RLock())
        self._users = 0
        self._found: Any = None
        self._standing_in: Any = None

    @property
    def is_needed(self) -> bool:
        """Whether anybody needs what stands in."""
        return self._users > 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._found = getattr(self._owner, self._name)
                self._standing_in = self._made_of(self._found)
                setattr(self._owner, self._name, self._standing_in)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and getattr(self._owner, self._name) is self._standing_in:
                    setattr(self._owner, self._name, self._found)
