"""How a cause is specified: the calls it fires on, the near misses it stays silent on, and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Example = Callable[[], tuple[Any, ...]]
"""Gives `(input, target)` or `(input, target, options)`; built anew for every test."""


@dataclass(frozen=True)
class Spec:
    """The specification of one cause by examples.

    Attributes:
        cause: Its name.
        fires: Calls on which strict mode names it first, by what they show.
        silent: Calls on which `diagnose` does not name it at all, by what they show.
        mended: The first call of `fires` as it should have been, where no `fix` says so; strict mode accepts it.
        beside: Calls on which it is among the findings, though another may be named first or nothing be raised.
    """

    cause: str
    fires: dict[str, Example]
    silent: dict[str, Example]
    mended: Example | None = None
    beside: dict[str, Example] = field(default_factory=dict)
