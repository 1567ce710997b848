"""The four modes, where the one in force comes from, and whether what they warn of is logged instead."""

from __future__ import annotations

import functools
import os
from contextvars import ContextVar
from typing import Literal, get_args

from safe_ce.contexts import Context, holding

Mode = Literal["strict", "default", "warn", "off"]
MODES: tuple[Mode, ...] = get_args(Mode)
VARIABLE = "SAFE_CE_MODE"


def checked(name: object, origin: str = "mode") -> Mode:
    """Return ``name`` if it is a mode, else raise a ValueError that lists the valid ones."""
    if name not in MODES:
        valid = ", ".join(repr(mode) for mode in MODES)
        raise ValueError(f"{origin} must be one of {valid}; got {name!r}")
    return name


def _from_environment() -> Mode:
    return checked(os.environ.get(VARIABLE) or "default", f"the environment variable {VARIABLE}")


process: Mode = _from_environment()
"""The mode of the process."""

_innermost: ContextVar[Mode | None] = ContextVar("safe_ce_mode", default=None)
innermost = _innermost.get
"""The mode of the innermost `with safe_ce.mode(...)` here, or None."""


def in_force(own: Mode | None) -> Mode:
    """The mode of a loss whose own is ``own``."""
    return checked(own) if own is not None else innermost() or process


def mode(name: Mode) -> Context:
    """Put every guarded loss of this thread, or asynchronous task, in a mode. Also a decorator.

    A loss built with its own ``mode=`` keeps that one.

    Args:
        name: ``"strict"``, ``"default"``, ``"warn"`` or ``"off"``.

    Raises:
        ValueError: ``name`` is not a mode.

    Example:
        >>> import safe_ce
        >>> with safe_ce.mode("strict"):
        ...     pass  # a finding of either severity raises here
    """
    return Context(functools.partial(holding, _innermost, checked(name)))


def set_mode(name: Mode | None) -> None:
    """Set the mode of the whole process, below any ``with safe_ce.mode(...)`` and any loss's own ``mode=``.

    Args:
        name: A mode, or None for what the environment variable ``SAFE_CE_MODE`` says now (``"default"`` where it
            says nothing). The variable is otherwise read once, when ``safe_ce`` is imported.

    Raises:
        ValueError: ``name``, or the variable's value, is not a mode.

    Example:
        >>> import safe_ce
        >>> safe_ce.set_mode("warn")
        >>> safe_ce.set_mode(None)
    """
    global process  # noqa: PLW0603 - the mode of the process is the process's
    process = _from_environment() if name is None else checked(name)


logs = False
"""Whether findings are logged instead of warned about."""


def set_logging(on: bool = True) -> None:
    """Log what the guard would warn about, through ``logging.getLogger("safe_ce")``, instead of warning.

    A record is of level WARNING, its text is the finding's report, and it carries the `Finding` as ``.finding``.
    Each cause is logged once per loss, or per place in the program that calls the function. What is raised is
    raised all the same.

    Args:
        on: False for warnings again.

    Example:
        >>> import logging, safe_ce
        >>> safe_ce.set_logging()
        >>> logging.getLogger("safe_ce").addHandler(logging.NullHandler())
        >>> safe_ce.set_logging(False)
    """
    global logs  # noqa: PLW0603 - as above
    logs = on
