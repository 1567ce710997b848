"""Guarding code that does not know of the guard: install, uninstall and guarded.

While anybody is guarded, `F.cross_entropy` runs the guard's code in the place of its own. It stays the same function: the
names, tables and handlers of ``__torch_function__`` that know it go on knowing it, and `nn.CrossEntropyLoss`, which calls
it, is left as it is, class and instances.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import has_torch_function_variadic

from safe_ce import contract, guard, modes, settings
from safe_ce.contexts import Context
from safe_ce.findings import SafeCrossEntropyError
from safe_ce.imports import After, after_import
from safe_ce.locks import free_in_forks
from safe_ce.places import PASSED, memory_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from safe_ce.findings import OnFinding
    from safe_ce.modes import Mode
    from safe_ce.schedule import Probe
    from safe_ce.settings import Caller

_lock = free_in_forks(threading.RLock())  # as a collection may close a generator that is guarded
_users = 0
_awaited: After | None = None

_NATIVE: Any = contract.original
_guards: dict[Any, Any] = {}
"""What stands in the place of functions that others put in the place of native's, by those functions."""

_rules: list[Any] = []
"""What torch's tracer knew of native's function."""

_is_traced = torch.compiler.is_dynamo_compiling


def install(*, probe: Probe | None = None, ignore: Iterable[str] = (), on_finding: OnFinding = None) -> None:
    """Guard every `F.cross_entropy` and `nn.CrossEntropyLoss` of the process, in all its threads.

    That includes libraries that were imported before, and modules that have the function by a name of their own
    (``from torch.nn.functional import cross_entropy``). The mode is the one in force at each call (see `set_mode`). A
    second call changes the settings. A function that another package has put in the place of `F.cross_entropy` by then,
    a fused kernel say, is guarded and called as native's is.

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
    caller = settings.caller(None, probe, ignore, on_finding)
    with _lock:
        if settings.everywhere is None:
            _enter()
        _cover_what_is_in_its_place()
        settings.everywhere = caller


def uninstall() -> None:
    """Undo `install`: every name has again what it had. Without one, nothing happens.

    Example:
        >>> import safe_ce
        >>> safe_ce.uninstall()
    """
    with _lock:
        if settings.everywhere is not None:
            settings.everywhere = None
            _leave()


def guarded(
    mode: Mode | None = None,
    *,
    probe: Probe | None = None,
    ignore: Iterable[str] = (),
    on_finding: OnFinding = None,
) -> Context:
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
    return Context(functools.partial(_guarding, None if mode is None else modes.checked(mode), caller))


@contextmanager
def _guarding(mode: Mode | None, caller: Caller) -> Iterator[None]:
    with _lock:
        _enter()
    try:
        with settings.here(caller), nullcontext() if mode is None else modes.mode(mode):
            yield
    finally:
        with _lock:
            _leave()


def _enter() -> None:
    global _users, _awaited  # noqa: PLW0603 - what is patched is the process's
    _users += 1
    if _users == 1:
        # A frame gets its defaults as it begins: in whichever order threads meet these, the code finds its guard.
        _NATIVE.__kwdefaults__ = {"_guard": _guarded_call}
        _NATIVE.__code__ = _door.__code__
        _NATIVE.__wrapped__ = contract.traced = contract.alone  # whose source and signature are native's
        _awaited = after_import("torch._dynamo.trace_rules", _let_the_tracer_in)
    _cover_what_is_in_its_place()


def _cover_what_is_in_its_place() -> None:
    found = F.cross_entropy
    is_function = inspect.isroutine(found) or isinstance(found, functools.partial)  # and no mock, say
    if is_function and found is not _NATIVE and found not in contract.GUARDS:
        if found not in _guards:
            _guards[found] = _guard_of(found)
        F.cross_entropy = _guards[found]


def _leave() -> None:
    global _users, _awaited  # noqa: PLW0603 - as above
    _users -= 1
    if _users == 0:
        for found, guarding in _guards.items():
            if F.cross_entropy is guarding:
                F.cross_entropy = found
            del contract.GUARDS[guarding]
        _guards.clear()
        if _awaited is not None:
            _awaited.cancel()
            _awaited = None
        _keep_the_tracer_out()
        contract.traced = _NATIVE
        del _NATIVE.__wrapped__
        _NATIVE.__code__ = contract.alone.__code__
        _NATIVE.__kwdefaults__ = None


def _door(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: Any = -100,
    reduce: Any = None,
    reduction: Any = "mean",
    label_smoothing: Any = 0.0,
    *,
    _guard: Any,
) -> Any:
    __tracebackhide__ = True
    return _guard(input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing)


PASSED.add(_door.__code__.co_filename)
# What Python says of wrong arguments names the function.
_door.__code__ = _door.__code__.replace(co_name="cross_entropy", co_qualname="cross_entropy")


def _guarded_call(
    input: Any,
    target: Any,
    weight: Any,
    size_average: Any,
    ignore_index: Any,
    reduce: Any,
    reduction: Any,
    label_smoothing: Any,
    native: Callable[..., Tensor] = contract.alone,
) -> Tensor:
    """What runs in the place of native's own code."""
    if _is_traced():
        from safe_ce import compiled

        reduction = contract.reduction_of(size_average, reduce, reduction)
        return compiled.guarded(
            compiled.PATCHED, native, input, target, weight, ignore_index, reduction, label_smoothing
        )
    caller = settings.active()
    mode = modes.innermost() or modes.process
    if caller is None or mode == "off":
        return native(input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing)
    if size_average is not None or reduce is not None:
        native = functools.partial(_as_given, native, (weight, size_average, ignore_index, reduce, reduction))
        reduction = contract.reduction_of(size_average, reduce, reduction)
    if native is not contract.alone or has_torch_function_variadic(input, target, weight):
        native = functools.partial(_once, native)
    try:
        return guard.guarded(
            native,
            memory_at(sys._getframe(), caller.probe),
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


def _as_given(
    native: Callable[..., Tensor], options: tuple[Any, ...], input: Any, target: Any, *, label_smoothing: Any, **_: Any
) -> Tensor:
    """Call native with the deprecated arguments that it was given, whatever they come to."""
    return native(input, target, *options, label_smoothing)


def _once(native: Callable[..., Tensor], *arguments: Any, **options: Any) -> Tensor:
    """Call a function, by way of a handler of ``__torch_function__`` say, that may call native's: not guarded again."""
    with settings.here(settings.GUARDED_ALREADY):
        return native(*arguments, **options)


_PARAMETERS = inspect.signature(contract.alone).parameters


def _guard_of(found: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What stands in the place of a function that another package has put in the place of native's."""
    signature = _signature_of(found)

    @functools.wraps(found)
    def cross_entropy(*arguments: Any, **options: Any) -> Tensor:
        meant = None if _is_traced() or settings.active() is None else _meant(signature, arguments, options)
        if meant is None:
            return found(*arguments, **options)

        def as_called(*_: Any, **__: Any) -> Tensor:
            return found(*arguments, **options)

        return _guarded_call(**meant, native=as_called)

    contract.GUARDS[cross_entropy] = found
    return cross_entropy


def _signature_of(found: Callable[..., Tensor]) -> inspect.Signature:
    """A function's own signature; native's, with that one's defaults, where it passes on whatever it is given."""
    try:
        own = inspect.signature(found)
    except ValueError:  # of a builtin that tells none
        own = inspect.Signature()
    own_kinds = {parameter.kind for parameter in own.parameters.values()}
    if own_kinds and not own_kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return own
    defaults = {name: own.parameters[name].default for name in _PARAMETERS.keys() & own.parameters.keys()}
    passed_on = [
        parameter if defaults.get(name, own.empty) is own.empty else parameter.replace(default=defaults[name])
        for name, parameter in _PARAMETERS.items()
    ]
    more = inspect.Parameter("more", inspect.Parameter.VAR_POSITIONAL)
    others = inspect.Parameter("others", inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([*passed_on, more, others])


def _meant(signature: inspect.Signature, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any] | None:
    """What a call means by native's own arguments, or None where that cannot be told."""
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError:  # which the function itself will raise
        return None
    bound.apply_defaults()
    if not {"input", "target"} <= bound.arguments.keys():
        return None
    return {name: bound.arguments.get(name, parameter.default) for name, parameter in _PARAMETERS.items()}


def _let_the_tracer_in() -> None:
    """Have torch's tracer look into the function, as into any function of a program."""
    from torch._dynamo import trace_rules

    rules = trace_rules.get_torch_obj_rule_map()
    if _NATIVE in rules:  # where something was traced while another function stood in its place, it is not
        _rules.append(rules.pop(_NATIVE))


def _keep_the_tracer_out() -> None:
    """Have it leave the function in its graphs again, as the operation that it knows by name."""
    while _rules:
        from torch._dynamo import trace_rules

        trace_rules.get_torch_obj_rule_map()[_NATIVE] = _rules.pop()
