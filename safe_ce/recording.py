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
from safe_ce.datasets import getter_of
from safe_ce.faults import log_fault
from safe_ce.frames import KINDS, Kind
from safe_ce.replacing import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

    from safe_ce.frames import Place

LATEST = 4096
"""Operations of which it is known from what they made their tensors."""

OUTPUTS = 64
"""Tensors of one operation that are recorded, at most."""

COMPILED = "compiled region"
"""The name of what compiled code does, whatever that is."""

PARAMETER = "parameter"
"""The name of what made a parameter, or anything else that a graph starts from."""

UNRECORDED = "safe_ce could not record an operation ({}); please report this"

PROPERTIES = frozenset({"T", "mT", "H", "mH", "data", "real"})
"""What is read off a tensor that is a tensor made from it."""

UNCHANGING = frozenset({"requires_grad_", "retain_grad", "share_memory_", "pin_memory", "zero_", "_make_subclass"})
"""What says nothing of where values come from."""

CASTS = frozenset(
    [
        "bfloat16",
        "bool",
        "byte",
        "char",
        "clone",
        "contiguous",
        "cpu",
        "cuda",
        "detach",
        "detach_",
        "double",
        "expand",
        "flatten",
        "float",
        "half",
        "int",
        "long",
        "reshape",
        "short",
        "squeeze",
        "to",
        "type",
        "type_as",
        "view",
    ]
)
"""What may return the very tensor that it was given, with nothing done to it."""

WITH_ARGUMENTS = frozenset(
    [
        "__getitem__",
        "adjoint",
        "amax",
        "amin",
        "argmax",
        "argmin",
        "cat",
        "chunk",
        "concat",
        "concatenate",
        "dstack",
        "gather",
        "gru",
        "hstack",
        "index_select",
        "logsumexp",
        "lstm",
        "max",
        "mean",
        "median",
        "min",
        "mode",
        "movedim",
        "moveaxis",
        "narrow",
        "nansum",
        "norm",
        "permute",
        "prod",
        "repeat",
        "repeat_interleave",
        "rnn_relu",
        "rnn_tanh",
        "select",
        "split",
        "squeeze",
        "stack",
        "std",
        "sum",
        "swapaxes",
        "swapdims",
        "take_along_dim",
        "tensor_split",
        "topk",
        "transpose",
        "transpose_",
        "unbind",
        "unfold",
        "unsqueeze",
        "unsqueeze_",
        "var",
        "vstack",
    ]
)
"""Operations whose arguments say which dimension became which."""


class Scene(NamedTuple):
    """From where torch was called.

    Attributes:
        place: The program's own innermost line that led there.
        within: The innermost line of an installed package between the two.
        user: The line of the program that called the function which that line is in, where a module does not.
        caller: The line of the program that called the model.
        module: The innermost module of a model that was being called.
        root: The outermost one.
        loaded: Whether torch's data loader called it, to put samples together.
        getter: Of the dataset whose samples they are: the program's own code that gets one.
        compiled: Whether compiled code called it.
    """

    place: Place | None = None
    within: Place | None = None
    user: Place | None = None
    caller: Place | None = None
    module: weakref.ref[nn.Module] | None = None
    root: weakref.ref[nn.Module] | None = None
    loaded: bool = False
    getter: CodeType | None = None
    compiled: bool = False


NOWHERE = Scene()


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

    def operation_of(self, tensor: object) -> Operation | None:
        """What made a tensor, or None if that is not known."""
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
        seen = _seen_from(frame)
        if seen is None:
            self._apart = True
            return
        if seen is _OF_NOBODY:
            return
        sources = tuple([made for tensor in given if (made := self._made_by(tensor)) is not None])
        arguments = (_plain(args[1:]), _plain(kwargs or {})) if name in WITH_ARGUMENTS else None
        for tensor in outputs:
            if _is_plain(tensor):
                self._keep(Operation(COMPILED if seen.compiled else name, tensor, sources, arguments, seen), tensor)

    def _made_by(self, tensor: Tensor) -> Operation | None:
        known = self._made.get(id(tensor))
        if (
            known is not None
            and known[0]() is tensor
            and (type(tensor) is not nn.Parameter or known[1].name == PARAMETER)
        ):
            return known[1]
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
_CALL = nn.Module._call_impl.__code__
_INNER, _PROGRAM, _INSTALLED, _MODULE, _END = Kind.INNER, Kind.PROGRAM, Kind.INSTALLED, Kind.MODULE, Kind.END
_OPTIMIZER, _WORKER, _LOADING, _COMPILED = Kind.OPTIMIZER, Kind.WORKER, Kind.LOADING, Kind.COMPILED
_FUNCTION = nn.Parameter.__torch_function__
_OF_NOBODY = Scene()
"""Stands for an optimizer's own arithmetic."""


def _seen_from(frame: FrameType | None) -> Scene | None:
    """From where torch was called; None in a process that does nothing but load data."""
    place: Place | None = None
    within: Place | None = None
    user: Place | None = None
    caller: Place | None = None
    inner: FrameType | None = None
    outer: FrameType | None = None
    loader: FrameType | None = None
    compiled = False
    while frame is not None:
        code = frame.f_code
        kind = KINDS[code.co_filename]
        if kind is _INNER:
            pass
        elif kind is _PROGRAM:
            here = code, frame.f_lasti
            if place is None:
                place = here
            elif user is None and inner is None:
                user = here
            if caller is None:
                caller = here
        elif kind is _MODULE:
            if code is _CALL:
                outer = frame
                caller = None
                if inner is None:
                    inner = frame
        elif kind is _INSTALLED:
            if place is None and within is None:
                within = code, frame.f_lasti
        elif kind is _END:
            break
        elif kind is _LOADING:
            if place is None:
                loader = frame
        elif kind is _COMPILED:
            if code.co_qualname.startswith("_TorchDynamoContext."):
                place = within = user = inner = None
                compiled = True
        elif kind is _WORKER:
            return None
        elif place is None and within is None and inner is None:
            return _OF_NOBODY
        frame = frame.f_back
    module = root = None
    if outer is not None:
        # Of such a frame alone: to read the variables of any other one keeps their values for longer than the program does.
        root = _weak(outer.f_locals["self"])
        module = root if inner is outer or inner is None else _weak(inner.f_locals["self"])
    getter = None if loader is None else getter_of(getattr(loader.f_locals.get("self"), "dataset", None))
    return Scene(place, within, user, caller, module, root, loader is not None, getter, compiled)


def _name_of_unseen(tensor: Tensor) -> str:
    if type(tensor) is nn.Parameter:
        return PARAMETER
    if not tensor.requires_grad:
        return ""
    try:
        if tensor.grad_fn is None:
            return PARAMETER
    except RuntimeError:  # of a view whose base was changed since
        return ""
    return COMPILED if is_compiled(tensor) else ""


def is_compiled(tensor: object) -> bool:
    """Whether a tensor came out of a compiled region, as its graph tells."""
    return isinstance(tensor, Tensor) and type(tensor.grad_fn).__name__ == "CompiledFunctionBackward"


def _weak(value: Any) -> weakref.ref[Any] | None:
    try:
        return weakref.ref(value)
    except TypeError:  # a list, say
        return None


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


def _answering(native: Callable[[Any], bool]) -> Callable[[Any], bool]:
    @functools.wraps(native)
    def has_torch_function(relevant_args: Any) -> bool:
        recorder = None if _is_traced() else active()
        if recorder is None or not recorder.is_innermost:
            return native(relevant_args)
        with recorder.aside():
            return native(relevant_args)

    return has_torch_function


def _seen(native: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(native)
    def made(*arguments: Any, **options: Any) -> Tensor:
        tensor = native(*arguments, **options)
        recorder = None if _is_traced() else active()
        if recorder is not None:
            recorder.note(native, (), {}, tensor, sys._getframe(1))
        return tensor

    return made


_UNSEEN = [Replacement(torch, name, _seen) for name in ("from_numpy", "frombuffer", "from_file")]
"""Functions that make tensors and of which torch tells no mode."""

# Torch's transformers ask whether anybody overrides functions, and if so take a slower path, with other roundings.
_answering_for_others = Replacement(torch.overrides, "has_torch_function", _answering)

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
                for replacement in (noting, _answering_for_others, *_UNSEEN):
                    stack.enter_context(replacement())
                with recorder:
                    yield
        finally:
            del _local.recorder
