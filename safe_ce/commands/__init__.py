"""The subcommands of python -m safe_ce: each module adds its parser, and says by its status how it ended."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from typing_extensions import override

if TYPE_CHECKING:
    from safe_ce.findings import Finding

BAD_USE = 2

FIELDS = ("code", "cause", "severity", "confidence", "summary", "evidence", "help", "fix", "title")
"""What --json says of a finding. Fields may be added; these stay."""


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, for logs and for other programs."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USE, f"{self.prog}: {' '.join(message.split())}; {self.prog} --help says more\n")


def refused(command: str, message: str) -> int:
    """Say in one line why a command was not carried out, and return the exit status for that."""
    print(f"python -m safe_ce {command}: {message}", file=sys.stderr)
    return BAD_USE


def fields(finding: Finding) -> dict[str, Any]:
    """A finding as --json prints it."""
    return {name: getattr(finding, name) for name in FIELDS}


def print_json(content: dict[str, Any]) -> None:
    """Print an object as JSON."""
    print(json.dumps(content, indent=2))
