"""Where modules were built, noted while a trail is recorded: a layer's own line is where it is changed."""

from __future__ import annotations

import functools
import sys
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from safe_ce.frames import KINDS, Kind, line_of
from safe_ce.replacing import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from safe_ce.frames import Place
    from safe_ce.lines import Line

_places: dict[int, tuple[weakref.ref[nn.Module], Place]] = {}
"""By the id of a module, which may be one that cannot be hashed."""


def built_at(module: nn.Module) -> Line | None:
    """The line of the program that built a module, if it was noted."""
    place = place_of(module)
    return None if place is None else line_of(place)


def place_of(module: nn.Module) -> Place | None:
    """Where the program built a module, if it was noted."""
    known = _places.get(id(module))
    return known[1] if known is not None and known[0]() is module else None


def _noting(native: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(native)
    def __init__(self: nn.Module, *arguments: Any, **options: Any) -> None:  # noqa: N807 - it is that
        native(self, *arguments, **options)
        if not torch.compiler.is_dynamo_compiling() and noting.is_needed:
            _note(self, sys._getframe(1))

    return __init__


noting = Replacement(nn.Module, "__init__", _noting)
"""A context in which it is noted where modules are built."""


def _note(module: nn.Module, frame: FrameType | None) -> None:
    key = id(module)
    while frame is not None:
        code = frame.f_code
        if KINDS[code.co_filename] is Kind.PROGRAM and not _constructs(frame, module):
            reference = weakref.ref(module, lambda _: _places.pop(key, None))
            _places[key] = reference, (code, frame.f_lasti)
            return
        frame = frame.f_back


def _constructs(frame: FrameType, module: nn.Module) -> bool:
    """Whether a frame is of the module's own constructor, which only passes on to that of its base."""
    code = frame.f_code
    return code.co_name == "__init__" and code.co_argcount > 0 and frame.f_locals.get(code.co_varnames[0]) is module
