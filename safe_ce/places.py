"""What calls of the function remember: each place in the program that makes them has a memory of its own.

A loss object is often built anew in every step, by the models of transformers for one: the line that calls it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.modules import loss, module

from safe_ce.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

    from safe_ce.schedule import Probe

PLACES = 1024
"""Places that are remembered at once."""

PASSED = {loss.__file__, module.__file__}
"""The files that a call passes through on its way from the program: torch's of modules, and this package's."""

_memories: dict[tuple[int, int, Probe | None], tuple[Memory, CodeType]] = {}
"""By code object, instruction and when values are looked at. A code object that is held here keeps its id."""


def memory_at(frame: FrameType, probe: Probe | None) -> Memory:
    """What is remembered of the place in the program whose call has come to this frame."""
    code = frame.f_code
    while code.co_filename in PASSED and frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
    key = (id(code), frame.f_lasti, probe)
    known = _memories.get(key)
    if known is not None:
        return known[0]
    if len(_memories) >= PLACES:
        _memories.pop(next(iter(list(_memories)), key), None)  # a list, as other threads may add to it
    memory = Memory()
    _memories[key] = memory, code
    return memory


def memories() -> Iterator[Memory]:
    """What is remembered of every place."""
    return (memory for memory, _ in tuple(_memories.values()))


def forget() -> None:
    """Forget every place, and what its calls were warned about."""
    _memories.clear()
