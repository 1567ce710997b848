"""What `mode` and `guarded` return, a context that is also a decorator, and what holds inside it."""

from __future__ import annotations

import functools
import inspect
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import ContextVar
    from types import TracebackType

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@contextmanager
def holding(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Have a variable hold a value, in this thread or asynchronous task."""
    token = variable.set(value)
    try:
        yield
    finally:
        with suppress(ValueError):  # left in another task than it was entered in, where there is nothing to undo
            variable.reset(token)


class Context(AbstractContextManager[None]):
    """A context, for one ``with`` or for every call of a function that it decorates, asynchronous ones included."""

    def __init__(self, begin: Callable[[], AbstractContextManager[None]]) -> None:
        self._begin = begin
        self._entered: list[AbstractContextManager[None]] = []

    @override
    def __enter__(self) -> None:
        entered = self._begin()
        entered.__enter__()
        self._entered.append(entered)

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._entered.pop().__exit__(kind, error, traceback)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function.

        Raises:
            TypeError: It is a generator function, the body of which runs elsewhere and at other times.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator function: use a with statement inside it")
        begin = self._begin
        if inspect.iscoroutinefunction(function):

            async def waited_for(*arguments: P.args, **options: P.kwargs) -> Any:
                with begin():
                    return await function(*arguments, **options)

            return functools.wraps(function)(waited_for)  # type: ignore[return-value]

        @functools.wraps(function)
        def inside(*arguments: P.args, **options: P.kwargs) -> R:
            with begin():
                return function(*arguments, **options)

        return inside
