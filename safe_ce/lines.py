"""Lines of a program."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """A line of a program."""

    filename: str
    lineno: int
    function: str

    @property
    def source(self) -> str:
        """What is written there; empty where it cannot be read."""
        return linecache.getline(self.filename, self.lineno).strip()

    def __str__(self) -> str:
        return f"{shortened(self.filename)}:{self.lineno}"


def shortened(file: str) -> str:
    """The name of a file as seen from the folder that the program runs in, where it lies in that."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):  # it lies elsewhere, or the folder is gone
        return file
