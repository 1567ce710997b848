"""Guarding code that does not know of the guard: install, uninstall and guarded.

`F.cross_entropy` is replaced wherever a module has it by a name of its own. `nn.CrossEntropyLoss` calls it there, and is
left as it is, class and instances.
"""

from __future__ import annotations

import functools
import sys
import threading
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safe_ce import contract, guard, modes, settings
from safe_ce.findings import SafeCrossEntropyError
from safe_ce.imports import After, after_import
from safe_ce.places import memory_of_the_caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from safe_ce.findings import OnFinding
    from safe_ce.modes import Mode
    from safe_ce.schedule import Probe
    from safe_ce.settings import Caller

everywhere: Caller | None = None
"""How the whole process is guarded, while `install` is in force."""

_innermost: ContextVar[Caller | None] = ContextVar("safe_ce_guarded", default=None)
_here = _innermost.get

_lock = threading.RLock()
_users = 0
_awaited: After | None = None

_is_traced = torch.compiler.is_dynamo_compiling


def active() -> Caller | None:
    """How calls of native's function are guarded here, or None where they are not."""
    return _here() or everywhere


def install(*, probe: Probe | None = None, ignore: Iterable[str] = (), on_finding: OnFinding = None) -> None:
    """Guard every `F.cross_entropy` and `nn.CrossEntropyLoss` of the process, in all its threads.

    That includes libraries that were imported before, and modules that have the function by a name of their own
    (``from torch.nn.functional import cross_entropy``). The mode is the one in force at each call (see `set_mode`). A
    second call changes the settings, and nothing else. A function that another package has put in the place of
    `F.cross_entropy`, a fused kernel say, is guarded and called as native's is.

    Args:
        probe: As in `SafeCrossEntropyLoss`.
        ignore: As in `SafeCrossEntropyLoss`.
        on_finding: As in `SafeCrossEntropyLoss`.

    Raises:
        ValueError: ``probe`` is none of its values, or ``ignore`` names a cause that there is not.
        TypeError: ``ignore`` is a string, or ``on_finding`` is not callable.

    Example:
        >>> import safe_ce
        >>> safe_ce.install()
        >>> safe_ce.uninstall()
    """
    global everywhere  # noqa: PLW0603 - what is installed is the process's
    caller = settings.caller(None, probe, ignore, on_finding)
    with _lock:
        if everywhere is None:
            _enter()
        everywhere = caller


def uninstall() -> None:
    """Undo `install`: every name has again what it had. Without one, nothing happens.

    Example:
        >>> import safe_ce
        >>> safe_ce.uninstall()
    """
    global everywhere  # noqa: PLW0603 - as above
    with _lock:
        if everywhere is not None:
            everywhere = None
            _leave()


@contextmanager
def guarded(
    mode: Mode | None = None,
    *,
    probe: Probe | None = None,
    ignore: Iterable[str] = (),
    on_finding: OnFinding = None,
) -> Iterator[None]:
    """Guard every `F.cross_entropy` and `nn.CrossEntropyLoss` of this thread, or asynchronous task. Also a decorator.

    As `install`, for a while. Other threads, those started inside among them, are as before: `install` is for all.

    Args:
        mode: The mode inside, as with `safe_ce.mode`; None for the one in force.
        probe: As in `SafeCrossEntropyLoss`.
        ignore: As in `SafeCrossEntropyLoss`.
        on_finding: As in `SafeCrossEntropyLoss`.

    Raises:
        ValueError: ``mode`` is not a mode, ``probe`` none of its values, or ``ignore`` names a cause that there is not.
        TypeError: ``ignore`` is a string, or ``on_finding`` is not callable.

    Example:
        >>> import torch, safe_ce
        >>> with safe_ce.guarded("strict"):
        ...     loss = torch.nn.CrossEntropyLoss()(torch.randn(4, 10), torch.tensor([3, 0, 9, 1]))
    """
    caller = settings.caller(None, probe, ignore, on_finding)
    with modes.mode(mode) if mode is not None else nullcontext():
        with _lock:
            _enter()
        token = _innermost.set(caller)
        try:
            yield
        finally:
            _innermost.reset(token)
            with _lock:
                _leave()


def _enter() -> None:
    global _users, _awaited  # noqa: PLW0603 - as above
    if _users == 0:
        # Torch's tracer learns the functions of torch by name when it first traces. It is to learn native's.
        _awaited = after_import("torch._dynamo.trace_rules", _introduce_native)
        for function in {contract.original, F.cross_entropy}:
            if function not in _guarding:
                _guarding[function] = _guard_of(function)
            _replace(function, _guarding[function])
    _users += 1


def _leave() -> None:
    global _users, _awaited  # noqa: PLW0603 - as above
    _users -= 1
    if _users == 0:
        for found, guarding in _guarding.items():
            _replace(guarding, found)
        if _awaited is not None:
            _awaited.cancel()
            _awaited = None


def _replace(old: Callable[..., Tensor], new: Callable[..., Tensor]) -> None:
    """Give every name that a module has for one function to another."""
    for module in tuple(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is dict and module is not contract:
            for name in [name for name, value in tuple(names.items()) if value is old]:
                names[name] = new


def _introduce_native() -> None:
    from torch._dynamo import trace_rules

    with _lock:
        here = F.cross_entropy
        F.cross_entropy = contract.original
        try:
            trace_rules.get_torch_obj_rule_map()
        finally:
            F.cross_entropy = here


_guarding: dict[Any, Any] = {}
"""What stands in the place of a function while anybody is guarded, by that function."""


def _guard_of(found: Callable[..., Tensor]) -> Callable[..., Tensor]:
    native = contract.alone if found is contract.original else contract.unguarded(found)

    @functools.wraps(found)
    def cross_entropy(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        **others: Any,
    ) -> Tensor:
        if _is_traced() and not others:
            from safe_ce import compiled

            if size_average is not None or reduce is not None:
                reduction = nn._reduction.legacy_get_string(size_average, reduce)
            return compiled.guarded(compiled.PATCHED, input, target, weight, ignore_index, reduction, label_smoothing)
        caller = _here() or everywhere
        mode = modes.innermost() or modes.process
        if caller is None or mode == "off" or others:
            return native(
                input,
                target,
                weight,
                size_average,
                ignore_index,
                reduce,
                reduction,
                label_smoothing,
                **others,
            )
        if size_average is not None or reduce is not None:
            reduction = nn._reduction.legacy_get_string(size_average, reduce)
        try:
            return guard.guarded(
                native,
                memory_of_the_caller(caller.probe),
                mode,
                caller,
                input,
                target,
                weight,
                ignore_index,
                reduction,
                label_smoothing,
            )
        except SafeCrossEntropyError as error:
            # The guard's own frames say nothing to the reader of a traceback.
            __tracebackhide__ = True
            raise error.with_traceback(None) from None

    # TorchScript compiles what stands in its place.
    cross_entropy.__prepare_scriptable__ = lambda: found  # type: ignore[attr-defined]
    contract.GUARDS[cross_entropy] = native
    return cross_entropy
