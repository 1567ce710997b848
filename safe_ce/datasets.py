"""The line of the program that gives a data loader its samples."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import CodeType
from typing import Any

from safe_ce.frames import KINDS, Kind
from safe_ce.lines import Line

WRAPPERS = 16
"""Data sets inside one another that are looked into, at most."""


def getter_of(dataset: Any) -> CodeType | None:
    """The code of a dataset's ``__getitem__``, or of that of the dataset inside it, if it is the program's own."""
    for _ in range(WRAPPERS):
        code = getattr(getattr(type(dataset), "__getitem__", None), "__code__", None)
        if not isinstance(code, CodeType):
            return None
        if KINDS[code.co_filename] is Kind.PROGRAM:
            return code
        dataset = getattr(dataset, "dataset", None)  # a Subset's
    return None


def line_that_returns(getter: CodeType) -> Line | None:
    """The one return statement of a function, or None if there is not one."""
    try:
        lines, first = inspect.getsourcelines(getter)
        (function,) = ast.parse(textwrap.dedent("".join(lines))).body
    except (OSError, SyntaxError, ValueError):
        return None
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    return Line(getter.co_filename, first + returns[0].lineno - 1, getter.co_name) if len(returns) == 1 else None
