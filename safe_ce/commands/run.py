"""python -m safe_ce run: an unchanged program, guarded, and a summary of what was found in it."""

from __future__ import annotations

import argparse
import atexit
import builtins
import io
import json
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from safe_ce import modes
from safe_ce.commands import children, refused
from safe_ce.findings import Blame
from safe_ce.ranks import rank
from safe_ce.report import place_of

if TYPE_CHECKING:
    from safe_ce.commands.children import Guarding

OWN = str(Path(__file__).parents[1]) + os.sep
"""How the file names of this package begin."""


class NoProgramError(Exception):
    """There is nothing to run."""


class Program(NamedTuple):
    """What is run: its code, what its ``__main__`` starts with, and what `sys.argv` and `sys.path` start with."""

    code: CodeType
    names: dict[str, Any]
    name: str
    folder: str | None


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "run",
        help="run an unchanged program with every cross-entropy loss in it guarded",
        usage="python -m safe_ce run [--mode MODE] [--ignore CAUSE] [--json] (SCRIPT | -m MODULE) [ARGUMENT ...]",
        epilog="Options of the guard come before the program; what follows it is the program's own.",
    )
    parser.add_argument("--mode", choices=modes.MODES, help="the mode of the process; else SAFE_CE_MODE, else default")
    parser.add_argument("--ignore", action="append", default=[], metavar="CAUSE", help="a name or code; repeatable")
    parser.add_argument("--json", action="store_true", help="print the summary as one line of JSON, on standard output")
    parser.add_argument("-m", dest="is_module", action="store_true", help="run a module, as python -m does")
    parser.add_argument(
        "program", metavar="SCRIPT", help="a script, a folder or zip file with a __main__.py, or MODULE"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Run the program. Returns where it could not be; its own end is the interpreter's."""
    ignore: tuple[str, ...] = ()
    if chosen.ignore:
        from safe_ce.settings import checked_causes

        try:
            ignore = checked_causes(chosen.ignore)
        except ValueError as error:
            return refused("run", f"--{error}")
    if chosen.mode is not None:
        modes.set_mode(chosen.mode)
    sys.argv = [chosen.program, *chosen.arguments]
    guarding = children.guard_from_here(ignore)
    # The first that is registered is the last that is run.
    atexit.register(
        _sum_up,
        guarding,
        os.getpid(),
        _own_copy(sys.stdout if chosen.json else sys.stderr),
        Path.cwd(),
        as_json=chosen.json,
    )
    try:
        program = _module(chosen.program) if chosen.is_module else _script(chosen.program)
    except NoProgramError as error:
        atexit.unregister(_sum_up)
        return refused("run", str(error))
    except BaseException:  # of a file that does not compile, or of a package on the way to the module
        _leave_out_own_frames(None)
        raise
    sys.argv[0] = program.name
    if not sys.flags.safe_path and not chosen.is_module:
        del sys.path[0]  # the folder that python -m put there
    if program.folder is not None:
        sys.path.insert(0, program.folder)
    main = ModuleType("__main__")
    vars(main).update(program.names, __builtins__=builtins)
    sys.modules["__main__"] = main
    try:
        exec(program.code, vars(main))
    except BaseException:
        _leave_out_own_frames(program.code)
        raise
    return 0


def _script(path: str) -> Program:
    """The program in a file, or in a folder or zip file that has a ``__main__.py``."""
    whole = str(Path(path).absolute())
    spec = PathFinder.find_spec("__main__", [whole])
    if spec is not None:
        code = _code_of(spec)
        if code is not None:
            return Program(code, _names_of(spec), path, whole)
    if Path(path).is_dir():
        raise NoProgramError(f"the folder {path} has no __main__.py")
    try:
        with io.open_code(whole) as file:
            source = file.read()
    except OSError as error:
        raise NoProgramError(f"cannot read the script {path}: {error.strerror}") from error
    code = compile(source, whole, "exec", dont_inherit=True)
    names = _names(whole, SourceFileLoader("__main__", whole))
    return Program(code, names, path, None if sys.flags.safe_path else str(Path(path).resolve().parent))


def _module(name: str) -> Program:
    """The program that ``python -m`` would run."""
    sys.argv[0] = "-m"
    try:
        spec = find_spec(name)
        if spec is None:
            raise NoProgramError(f"there is no module {name}")
        if spec.submodule_search_locations is not None:
            spec = find_spec(f"{name}.__main__")
            if spec is None:
                raise NoProgramError(f"{name} is a package without a __main__ module")
    except (ModuleNotFoundError, ValueError) as error:
        missing = getattr(error, "name", None)
        if missing is not None and not name.startswith(missing):
            raise
        raise NoProgramError(f"there is no module {name}") from error
    code = _code_of(spec)
    if code is None:
        raise NoProgramError(f"{name} has no code that could be run")
    return Program(code, _names_of(spec), spec.origin or name, None)


def _code_of(spec: ModuleSpec) -> CodeType | None:
    get_code = getattr(spec.loader, "get_code", None)
    code: CodeType | None = None if get_code is None else get_code(spec.name)
    return code


def _names_of(spec: ModuleSpec) -> dict[str, Any]:
    return _names(spec.origin, spec.loader) | {
        "__spec__": spec,
        "__package__": spec.parent,
        "__cached__": spec.cached,
    }


def _names(file: str | None, loader: Any) -> dict[str, Any]:
    """What ``__main__`` starts with, where a script is run."""
    return {
        "__name__": "__main__",
        "__file__": file,
        "__loader__": loader,
        "__spec__": None,
        "__package__": None,
        "__cached__": None,
        "__annotations__": {},
    }


def _leave_out_own_frames(code: CodeType | None) -> None:
    """Have the interpreter print the exception under way as it would for the program alone."""
    hook = sys.excepthook

    def shown(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        chain: list[BaseException | None] = [error]
        for link in chain:
            if link is not None:
                link.__traceback__ = _without_own_frames(link.__traceback__, code)
                chain += [other for other in (link.__cause__, link.__context__) if other not in chain]
        hook(kind, error, error.__traceback__)

    sys.excepthook = shown


def _without_own_frames(trace: TracebackType | None, code: CodeType | None) -> TracebackType | None:
    """A traceback from the program's own code on, but for the frames of this package."""
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    files = [entry.tb_frame.f_code.co_filename for entry in entries]
    # Of a program that never began there may be a package, on the way to its module, and Python's own machinery.
    starts = [number for number, entry in enumerate(entries) if entry.tb_frame.f_code is code] or [
        number for number, file in enumerate(files) if not file.startswith((OWN, "<frozen "))
    ]
    kept: TracebackType | None = None
    for entry in reversed(entries[starts[0] if starts else len(entries) :]):
        if not entry.tb_frame.f_code.co_filename.startswith(OWN):
            kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


def _own_copy(stream: TextIO | None) -> list[int]:
    """A descriptor of our own for what a stream writes to, whatever the program does to the stream; none if to nothing."""
    try:
        held = [] if stream is None else [os.dup(stream.fileno())]
    except (OSError, ValueError):
        return []

    def close() -> None:
        while held:  # in a child's own children the number is another's
            os.close(held.pop())

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=close)  # who reads it waits for all to close it
    return held


def _sum_up(guarding: Guarding, process: int, held: list[int], folder: Path, *, as_json: bool) -> None:
    """Say what was found. A process that the program forked says nothing: that is its parent's part."""
    if os.getpid() != process:
        return
    counts = children.all_counts(guarding)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    text = json.dumps({"mode": guarding.mode} | counts) if as_json else summary(counts, folder)
    for descriptor in held:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as output:
            print(text, file=output)


def summary(counts: dict[str, Any], folder: Path) -> str:
    """What was guarded and found, as text."""
    here, calls, findings = rank(), counts["calls"], counts["findings"]
    name = "safe_ce" if here is None else f"safe_ce, rank {here}"
    if not calls and not findings:
        return f"{name}: no call of the cross-entropy loss was guarded"
    guarded = "1 call" if calls == 1 else f"{calls:,} calls"
    found = "found:" if findings else "nothing found"
    lines = [
        f"{name}: guarded {guarded} of the cross-entropy loss, looked at the values of {counts['probes']:,}; {found}"
    ]
    width = max((len(finding["cause"]) for finding in findings), default=0)
    for finding in findings:
        times = "once" if finding["count"] == 1 else f"{finding['count']:,} times, first"
        when = "in the constructor" if finding["call"] is None else f"in call {finding['call']:,}"
        place = finding["place"].removeprefix(str(folder) + os.sep)
        line = f"  {finding['code']} {finding['cause']:<{width}}  {times} {when} at {place}"
        if finding["blame"] is not None:
            made = place_of(Blame(**finding["blame"] | {"source": ""}))
            line += f", made at {made}".replace(str(folder) + os.sep, "")
        lines.append(line)
    return "\n".join(lines)
