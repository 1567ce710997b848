"""From where torch was called: the line of the program, the module of a model, the data set."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from safe_ce.datasets import getter_of
from safe_ce.frames import KINDS, Kind

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from safe_ce.frames import Place

_CALL = nn.Module._call_impl.__code__
_INNER, _PROGRAM, _INSTALLED, _MODULE, _END = Kind.INNER, Kind.PROGRAM, Kind.INSTALLED, Kind.MODULE, Kind.END
_WORKER, _LOADING, _COMPILED = Kind.WORKER, Kind.LOADING, Kind.COMPILED


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

OPTIMIZER = Scene()
"""Stands for an optimizer's own arithmetic."""

WORKER = Scene()
"""Stands for a process that does nothing but load data."""


def seen_from(frame: FrameType | None) -> Scene:
    """From where torch was called."""
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
            return WORKER
        elif place is None and within is None and inner is None:
            return OPTIMIZER
        frame = frame.f_back
    module = root = None
    if outer is not None:
        # Of such a frame alone: to read the variables of any other one keeps their values for longer than the program does.
        root = _weak(outer.f_locals["self"])
        module = root if inner is outer or inner is None else _weak(inner.f_locals["self"])
    getter = None if loader is None else getter_of(getattr(loader.f_locals.get("self"), "dataset", None))
    return Scene(place, within, user, caller, module, root, loader is not None, getter, compiled)


def _weak(value: Any) -> weakref.ref[Any] | None:
    try:
        return weakref.ref(value)
    except TypeError:  # a list, say
        return None
