"""python -m safe_ce audit: a data loader, looked through before training."""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

from safe_ce.commands import print_json, refused
from safe_ce.findings import SafeCrossEntropyError

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "audit",
        help="look through a data loader before training",
        epilog="The exit status is 0 where nothing is wrong, 1 where something is, 2 where the loader could not be looked"
        " through, and 130 where Ctrl-C ended it before anything was found.",
    )
    parser.add_argument(
        "loader",
        metavar="MODULE:ATTRIBUTE",
        help="a loader, or a callable without arguments that returns one; modules of this folder are found",
    )
    parser.add_argument("--num-classes", type=int, metavar="N", help="how many classes there are")
    parser.add_argument("--ignore-index", type=int, default=-100, metavar="N", help="as the loss's")
    parser.add_argument("--target", metavar="KEY", help="the index, key or name of the target in a batch")
    parser.add_argument("--batches", type=int, metavar="K", help="look at so many at most")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the audit, and return the exit status."""
    from safe_ce.auditing import audit
    from safe_ce.auditing.batches import BadLoaderError, UnclearTargetError

    try:
        found = audit(
            _named(chosen.loader),
            chosen.num_classes,
            ignore_index=chosen.ignore_index,
            target=_key(chosen.target),
            batches=chosen.batches,
        )
    except UnclearTargetError as error:
        return refused("audit", f"{error}. Here it is --target, which takes an index, a key or a name, and no callable")
    except (NoLoaderError, BadLoaderError, SafeCrossEntropyError) as error:
        return refused("audit", str(error))
    except Exception:  # the user's own code raised it: all of it is shown, and it is no finding
        traceback.print_exc()
        return 2
    if chosen.json:
        print_json(found.to_dict())
    else:
        print(found)
    return 1 if not found.ok else 130 if found.interrupted else 0


def _key(text: str | None) -> int | str | None:
    """An index, where a text is a number, or a name."""
    return int(text) if text is not None and text.removeprefix("-").isdecimal() else text


class NoLoaderError(Exception):
    """A name leads to no loader."""


def _named(name: str) -> Any:
    """The loader that a name like ``package.module:make_loader`` leads to."""
    module, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module.split(".")):
        raise NoLoaderError(f"{name!r} is not of the form package.module:make_loader")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # of one that this module imports
        raise NoLoaderError(f"there is no module {error.name}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise NoLoaderError(f"{module} has no {attribute}")
        found = getattr(found, part)
    loader = found() if isinstance(found, type) or (callable(found) and not hasattr(found, "__iter__")) else found
    if not hasattr(loader, "__iter__"):
        raise NoLoaderError(f"{name} gives {type(loader).__name__}, which is no loader: batches cannot be had of it")
    return loader
