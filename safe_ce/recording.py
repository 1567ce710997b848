"""The trail: which operations made a tensor, on which lines of the program and in which modules of its models.

A mode of ``__torch_function__`` sees every call of torch from Python, and the program need not be changed. What is kept
of a tensor is its shape and dtype, and by which operation it was made from which others: of the last `LATEST` operations,
and of what made the tensors that still live.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections import deque
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from safe_ce.building import noting
from safe_ce.contexts import Context, holding
from safe_ce.faults import log_fault
from safe_ce.operations import CASTS, COMPILED, PARAMETER, PROPERTIES, UNCHANGING, WITH_ARGUMENTS
from safe_ce.replacing import Replacement
from safe_ce.scenes import NOWHERE, OPTIMIZER, WORKER, seen_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from safe_ce.scenes import Scene

LATEST = 4096
"""Operations of which it is known from what they made their tensors."""

OUTPUTS = 64
"""Tensors of one operation that are recorded, at most."""

UNRECORDED = "safe_ce could not record an operation ({}); please report this"


class Operation:
    """What made one tensor.

    Attributes:
        name: As torch calls it; empty for a tensor that was there before, or came from where no trail sees.
        shape: Of the tensor that it made.
        dtype: Of the tensor that it made.
        sources: What made the tensors that it was given, in their order. Empty once that is too long ago.
        arguments: What else it was given, where that says which dimension became which.
        scene: From where it was called.
        key: What its tensor is found by.
    """

    __slots__ = ("arguments", "dtype", "key", "name", "scene", "shape", "sources")

    def __init__(
        self,
        name: str,
        tensor: Tensor,
        sources: tuple[Operation, ...] = (),
        arguments: tuple[Any, Any] | None = None,
        scene: Scene = NOWHERE,
    ) -> None:
        self.name = name
        self.shape: tuple[int, ...] = tensor.shape
        self.dtype = tensor.dtype
        self.sources = sources
        self.arguments = arguments
        self.scene = scene
        self.key = id(tensor)


class Recorder(TorchFunctionMode):
    """Records what torch is called for in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, tuple[weakref.ref[Tensor], Operation]] = {}
        self._latest: deque[Operation] = deque()
        self._apart = False

    @override
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args) if kwargs is None else func(*args, **kwargs)
        if _is_traced():
            return result
        self.note(func, args, kwargs, result, sys._getframe(1))
        return result

    def note(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None, result: Any, frame: FrameType
    ) -> None:
        """Record what was called from a frame."""
        try:
            if isinstance(result, Tensor):
                self._note(func, args, kwargs, (result,), frame)
            elif isinstance(result, (tuple, list)):
                self._note(func, args, kwargs, _tensors(result), frame)
            elif result is None and func is Tensor.__setitem__:
                self._note(func, args, kwargs, (args[0],), frame)
        except Exception as fault:
            log_fault(fault, UNRECORDED)

    def operation_of(self, tensor: Any) -> Operation | None:
        """What made a tensor, or None if that is not known."""
        made = self._known(tensor)
        # No mode is told where a tensor is unpickled, or given other data.
        changed = made is not None and (tensor.shape != made.shape or tensor.dtype is not made.dtype)
        return None if changed else made

    def _known(self, tensor: Any) -> Operation | None:
        known = self._made.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None

    def __len__(self) -> int:
        return len(self._made)

    def _note(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        outputs: tuple[Tensor, ...],
        frame: FrameType,
    ) -> None:
        name = func.__name__
        if name == "__get__":
            name = func.__self__.__name__
            if name not in PROPERTIES:
                return
        if not outputs or name in UNCHANGING or self._apart or _of_transforms() or _of_tracing():
            return
        given = _tensors(args) if kwargs is None else _tensors((*args, *kwargs.values()))
        if name in CASTS and given and outputs[0] is given[0]:
            return
        scene = seen_from(frame)
        self._apart = scene is WORKER
        if scene is WORKER or scene is OPTIMIZER:
            return
        changed = outputs[0]  # in place, if it was given
        sources = tuple([made for tensor in given if (made := self._made_by(tensor, changed)) is not None])
        arguments = (_plain(args[1:]), _plain(kwargs or {})) if name in WITH_ARGUMENTS else None
        for tensor in outputs:
            if _is_plain(tensor):
                self._keep(Operation(COMPILED if scene.compiled else name, tensor, sources, arguments, scene), tensor)

    def _made_by(self, tensor: Tensor, changed: Tensor) -> Operation | None:
        known = self._known(tensor) if tensor is changed else self.operation_of(tensor)
        if known is not None and (type(tensor) is not nn.Parameter or known.name == PARAMETER):
            return known
        if not _is_plain(tensor):
            return None
        made = Operation(_name_of_unseen(tensor), tensor)
        self._keep(made, tensor)
        return made

    def _keep(self, made: Operation, tensor: Tensor) -> None:
        self._made[made.key] = weakref.ref(tensor), made
        self._latest.append(made)
        if len(self._latest) > LATEST:
            self._let_go(self._latest.popleft())

    def _let_go(self, made: Operation) -> None:
        made.sources = ()
        key = made.key
        known = self._made.get(key)
        if known is None or known[1] is not made:
            return
        tensor = known[0]()
        if tensor is None:
            del self._made[key]
        else:  # it lives longer than what others were made from: a parameter, a data set

            def forget(reference: weakref.ref[Tensor]) -> None:
                known = self._made.get(key)
                if known is not None and known[0] is reference:
                    del self._made[key]

            self._made[key] = weakref.ref(tensor, forget), made

    @property
    def is_innermost(self) -> bool:
        """Whether no other mode is to see a call of torch before this one does."""
        modes = torch._C._len_torch_function_stack()
        return modes > 0 and torch._C._get_function_stack_at(modes - 1) is self

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Have torch called as without a trail. Only for the innermost mode."""
        torch._C._pop_torch_function_stack()
        try:
            yield
        finally:
            torch._C._push_on_torch_function_stack(self)


class Index(NamedTuple):
    """What is kept of a tensor that others are indexed with."""

    ndim: int
    is_mask: bool


_is_traced = torch.compiler.is_dynamo_compiling
_of_transforms = torch._C._are_functorch_transforms_active
_of_tracing = torch._C._is_tracing
_FUNCTION = nn.Parameter.__torch_function__


def _name_of_unseen(tensor: Tensor) -> str:
    if type(tensor) is nn.Parameter:
        return PARAMETER
    if not tensor.requires_grad:
        return ""
    try:
        node = tensor.grad_fn
    except RuntimeError:  # of a view whose base was changed since
        return ""
    return PARAMETER if node is None else COMPILED if type(node).__name__ == "CompiledFunctionBackward" else ""


def is_compiled(tensor: object) -> bool:
    """Whether a tensor came out of a compiled region, as its graph tells."""
    return isinstance(tensor, Tensor) and tensor.requires_grad and _name_of_unseen(tensor) == COMPILED


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has a shape of its own, as tensors have."""
    kind = type(tensor)
    return (kind is Tensor or kind is nn.Parameter or _is_ordinary(kind)) and not tensor.is_nested


@functools.cache
def _is_ordinary(kind: type[Tensor]) -> bool:
    """Whether nothing of the user's is asked where a tensor of a class is asked for its shape."""
    overrides = kind.__torch_function__ is not _FUNCTION or kind.__torch_dispatch__ is not Tensor.__torch_dispatch__
    return not overrides and not issubclass(kind, (nn.UninitializedParameter, nn.UninitializedBuffer))


def _tensors(values: Any) -> tuple[Tensor, ...]:
    """The tensors among some values and in the tuples and lists among them."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += [part for part in value[:OUTPUTS] if isinstance(part, Tensor)]
        if len(found) >= OUTPUTS:
            break
    return tuple(found)


def _plain(value: Any) -> Any:
    """An argument without the tensors in it."""
    if value is None or value is ... or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, tuple):
        return tuple([_plain(part) for part in value])
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, slice):
        return slice(None)
    if isinstance(value, list):
        return [_plain(part) for part in value[:OUTPUTS]]
    dtype = None if isinstance(value, Tensor) and not _is_plain(value) else getattr(value, "dtype", None)
    return None if dtype is None else Index(value.ndim, dtype in (torch.bool, torch.uint8) or str(dtype) == "bool")


_local = threading.local()


def active() -> Recorder | None:
    """What records the trail of this thread, if one is recorded."""
    recorder: Recorder | None = getattr(_local, "recorder", None)
    return recorder


def _as_one(native: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(native)
    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        recorder = None if _is_traced() or self.training else active()
        if recorder is None or not recorder.is_innermost:
            return native(self, *arguments, **options)
        with recorder.aside():
            result = native(self, *arguments, **options)
        recorder.note(type(self), arguments, options, result, sys._getframe(1))
        return result

    return forward


# Torch's transformers, in evaluation, take a slower path with other roundings where anybody overrides functions.
_FUSED = [
    Replacement(kind, "forward", _as_one)
    for kind in (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
]

_installed: ContextVar[bool] = ContextVar("safe_ce_trail_installed", default=False)


def shows_installed() -> bool:
    """Whether lines of installed packages count as the program's own here."""
    return _installed.get()


def trail(*, installed: bool = False) -> Context:
    """Record where tensors come from, so that a finding names the line and the layer that made the mistake.

    For use with ``with``, or as a decorator. Inside it each call of torch from Python is recorded, in this thread: which
    operation it was, on which line of the program, in which module of which model, and from which tensors to which shape.
    No tensor is kept alive, the last few thousand operations are known, and results stay the same to the bit. A training
    step of ten milliseconds takes some 1.2 times as long, one of a millisecond up to 2.5 times, so it is for the search.

    A finding then has a ``blame``, and its report the line of source. Build the model inside the trail as well, and the
    report also names the line that built the layer. ``python -m safe_ce run`` and the pytest plugin's strict mode record a
    trail by themselves.

    What runs in compiled code is one opaque operation, and what reaches the thread from elsewhere, from the workers of
    a data loader for one, has no history before that.

    Args:
        installed: Whether a line of an installed package counts as one of the program's. Otherwise what a package does is
            laid at the line of the program that called it.

    Example:
        >>> import torch
        >>> import safe_ce
        >>> with safe_ce.trail():
        ...     rows = torch.randn(4, 16, 10, 10).view(-1, 400)
        ...     finding, *_ = safe_ce.diagnose(rows, torch.tensor([0, 1, 2, 3]))
        >>> finding.blame.operation
        'view'
    """
    return Context(lambda: _recording(installed=installed))


@contextmanager
def _recording(*, installed: bool) -> Iterator[None]:
    with holding(_installed, installed):
        if active() is not None:
            yield
            return
        recorder = _local.recorder = Recorder()
        try:
            with ExitStack() as stack:
                for replacement in (noting, *_FUSED):
                    stack.enter_context(replacement())
                with recorder:
                    yield
        finally:
            del _local.recorder
