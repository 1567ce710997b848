"""An attribute of torch's that something else stands in for, while anybody needs it to."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safe_ce.locks import free_in_forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


TRACER = "torch._dynamo"


class Replacement:
    """What stands in for an attribute, in all threads, from the first that needs it to the last.

    Where somebody else has put something in its place meanwhile, that is left there. Where torch's tracer was imported
    meanwhile, what stands in is left there as well: the tracer knows functions by what it has found, and would not know the
    one that was there before. It is then still called, and asks whether it is needed.
    """

    def __init__(self, owner: Any, name: str, made_of: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._made_of = made_of
        self._lock = free_in_forks(threading.RLock())
        self._users = 0
        self._found: Any = None
        self._standing_in: Any = None
        self._is_traced = False

    @property
    def is_needed(self) -> bool:
        """Whether anybody needs what stands in."""
        return self._users > 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            found = getattr(self._owner, self._name)
            if found is not self._standing_in:
                self._found, self._standing_in = found, self._made_of(found)
                setattr(self._owner, self._name, self._standing_in)
                self._is_traced = TRACER in sys.modules
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                stays = self._is_traced != (TRACER in sys.modules)
                if self._users == 0 and not stays and getattr(self._owner, self._name) is self._standing_in:
                    setattr(self._owner, self._name, self._found)
