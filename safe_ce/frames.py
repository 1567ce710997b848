"""Whose code a frame runs: the program's own, an installed package's, or what torch and Python are made of."""

from __future__ import annotations

import os
import sysconfig
from enum import IntEnum
from itertools import islice
from pathlib import Path
from types import CodeType

import torch

from safe_ce.lines import Line


class Kind(IntEnum):
    """What the code of a file is to one who looks for a line of the program."""

    PROGRAM = 0
    INSTALLED = 1
    INNER = 2
    MODULE = 3
    """What calls a module of a model."""
    LOADING = 4
    """What asks a dataset for samples, and puts them together."""
    COMPILED = 5
    """What calls compiled code."""
    OPTIMIZER = 6
    """What changes parameters."""
    WORKER = 7
    """What runs a process that does nothing but load data."""
    END = 8
    """What runs the program. Nothing further out is of it."""


Place = tuple[CodeType, int]
"""A code object, and an instruction in it: cheap to take, and read only once somebody asks."""

_TORCH, _OWN = Path(torch.__file__).parent, Path(__file__).parent
_STARTS = {
    str(_TORCH / "nn/modules/module.py"): Kind.MODULE,
    str(_TORCH / "utils/data/_utils/fetch.py"): Kind.LOADING,
    str(_TORCH / "utils/data/_utils/worker.py"): Kind.WORKER,
    str(_TORCH / "_dynamo/eval_frame.py"): Kind.COMPILED,
    f"{_TORCH / 'optim'}{os.sep}": Kind.OPTIMIZER,
    f"{_TORCH}{os.sep}": Kind.INNER,
    str(_OWN / "commands/run.py"): Kind.END,
    f"{_OWN}{os.sep}": Kind.INNER,
    "<frozen ": Kind.INNER,
    "<eval_with_key>": Kind.INNER,
}
"""By how the name of a file begins; the first that fits holds."""

_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_PYTEST = f"{os.sep}_pytest{os.sep}"
_STANDARD = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))


class Kinds(dict[str, Kind]):
    """The kinds of files, by name."""

    def __missing__(self, file: str) -> Kind:
        kind = self[file] = _kind_of(file)
        return kind


KINDS = Kinds()


def _kind_of(file: str) -> Kind:
    for start, kind in _STARTS.items():
        if file.startswith(start):
            return kind
    if _PYTEST in file:
        return Kind.END
    if any(folder in file for folder in _PACKAGES):
        return Kind.INSTALLED
    return Kind.INNER if file.startswith(_STANDARD) else Kind.PROGRAM


_WITHIN_FUNCTIONS = {"<locals>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}


def line_of(place: Place) -> Line:
    """The line that an instruction is of."""
    code, instruction = place
    positions = next(islice(code.co_positions(), instruction // 2, None), (None,))
    names = [name for name in code.co_qualname.split(".") if name not in _WITHIN_FUNCTIONS] or ["<module>"]
    return Line(code.co_filename, positions[0] or code.co_firstlineno, names[-1])
