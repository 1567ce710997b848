"""python -m safe_ce: the demo, the catalogue, a program or a data loader looked through, and what a message tells."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from safe_ce.commands import Parser, audit, diagnose, explain, run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS = (run, audit, explain, diagnose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parser = Parser(prog="python -m safe_ce", description="Guards PyTorch's cross-entropy loss.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="train a small classifier, then show the reports of five classic mistakes")
    demo.set_defaults(run=_demo)
    for command in COMMANDS:
        command.add(commands)
    chosen = parser.parse_args(arguments)
    status: int
    try:
        status = chosen.run(chosen)
    except BrokenPipeError:
        if chosen.run is run.run:  # the program's own
            raise
        return 0  # the reader, head say, has seen enough
    return status


def _demo(_: argparse.Namespace) -> int:
    from safe_ce import demo

    return demo.main()


if __name__ == "__main__":
    sys.exit(main())
