"""python -m safe_ce: the demo, and the catalogue in the terminal."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safe_ce.causes import Cause

BAD_USE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m safe_ce", description="Guards PyTorch's cross-entropy loss.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="train a small classifier, then show the reports of five classic mistakes")
    explain = commands.add_parser("explain", help="print the catalogue of mistakes, or one entry of it")
    explain.add_argument("cause", nargs="?", metavar="CODE or name", help="such as SCE101 or softmax-applied")
    chosen = parser.parse_args(arguments)
    if chosen.command == "demo":
        from safe_ce import demo

        return demo.main()
    return _explain(chosen.cause)


def _explain(wanted: str | None) -> int:
    from safe_ce.causes import CATALOGUE

    if wanted is None:
        names = max(len(cause.name) for cause in CATALOGUE)
        for cause in CATALOGUE:
            print(f"{cause.code}  {cause.name:<{names}}  {cause.severity:<7}  {cause.title}")
        return 0
    for cause in CATALOGUE:
        if wanted.lower() in (cause.code.lower(), cause.name):
            print(entry(cause, min(shutil.get_terminal_size().columns, 100)))
            return 0
    valid = ", ".join(f"{cause.code} {cause.name}" for cause in CATALOGUE)
    print(f"python -m safe_ce explain: no cause {wanted!r}; the causes are {valid}", file=sys.stderr)
    return BAD_USE


def entry(cause: Cause, width: int) -> str:
    """One entry of the catalogue as text of at most ``width`` columns, but for code."""
    from safe_ce.causes import HEADINGS

    lines = [f"{cause.code} {cause.name} ({cause.severity})", cause.title]
    for heading in HEADINGS:
        lines += ["", heading]
        for paragraph in cause.section(heading).split("\n\n"):
            if paragraph.startswith(">>>"):
                lines += [f"    {line.removeprefix('>>> ')}" for line in paragraph.splitlines()]
            else:
                lines += textwrap.wrap(paragraph, width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, head say, has seen enough
        sys.exit(0)
