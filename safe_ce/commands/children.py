"""Guarding the processes that a program starts with multiprocessing, and adding up what was found in all of them."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from safe_ce import memory, modes
from safe_ce.commands import fields
from safe_ce.imports import after_import

if TYPE_CHECKING:
    from safe_ce.modes import Mode


@dataclass(frozen=True)
class Guarding:
    """How a program is guarded. It travels to the processes that it starts, and guards there as it arrives.

    Attributes:
        mode: The mode of the process.
        ignore: The names of causes that are not reported.
        folder: Where processes that were started leave their counts; made by the first that has any.
    """

    mode: Mode
    ignore: tuple[str, ...]
    folder: str

    def __reduce__(self) -> tuple[Any, ...]:
        # By a builtin, as a process in which this package cannot be imported must start all the same.
        names = {"home": str(Path(__file__).parents[2]), "guarding": (self.mode, self.ignore, self.folder)}
        return exec, (ARRIVAL, names)

    def begin(self) -> None:
        """Guard this process, once torch is there to be guarded, and the processes that it starts."""
        modes.set_mode(self.mode)
        after_import("torch", functools.partial(_install, self.ignore))
        # Nothing of multiprocessing is imported before the program does: what that plans for the end keeps its place.
        after_import("multiprocessing.process", functools.partial(_follow, self))


ARRIVAL = """
import sys
before = list(sys.path)
sys.path.append(home)
try:
    from safe_ce.commands import children
except ImportError:
    pass
else:
    children.arrive(*guarding)
finally:
    sys.path[:] = before
"""
"""What is run in a new process that inherits nothing."""


def _install(ignore: tuple[str, ...]) -> None:
    from safe_ce.patching import install
    from safe_ce.recording import trail

    install(ignore=ignore)
    _to_the_end.enter_context(trail())
    atexit.register(_to_the_end.close)


def _follow(guarding: Guarding) -> None:
    from multiprocessing.process import BaseProcess

    start = BaseProcess.start

    @functools.wraps(start)
    def guarded_start(process: Any) -> None:
        _count_in_new_processes(guarding)
        process._safe_ce = guarding
        start(process)

    BaseProcess.start = guarded_start  # type: ignore[assignment,method-assign]


_to_the_end = ExitStack()
"""What holds until the process ends."""

_followed: list[Guarding] = []
"""Kept here, as multiprocessing holds what it runs in a new process but weakly."""


def _count_in_new_processes(guarding: Guarding) -> bool:
    """Have processes that are forked from here leave their counts, unless that is so already."""
    from multiprocessing import util

    if guarding in _followed:
        return False
    _followed.append(guarding)
    # Run in a new process, when multiprocessing has forgotten what its parent had planned for the end.
    util.register_after_fork(guarding, _leave_counts_at_the_end)
    return True


def arrive(mode: Mode, ignore: tuple[str, ...], folder: str) -> None:
    """Guard a process that was started by a guarded one, unless it inherited that."""
    guarding = Guarding(mode, ignore, folder)
    if _count_in_new_processes(guarding):
        guarding.begin()
        _leave_counts_at_the_end(guarding)


def _leave_counts_at_the_end(guarding: Guarding) -> None:
    from multiprocessing import util

    memory.FIRST.clear()
    util.Finalize(None, _leave_counts, args=(guarding.folder, memory.stats()), exitpriority=0)


def _leave_counts(folder: str, inherited: memory.Stats) -> None:
    own = counts_of_this_process(inherited)
    if own["calls"] or own["findings"]:
        Path(folder).mkdir(mode=0o700, exist_ok=True)
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(own), encoding="utf-8")


def counts_of_this_process(inherited: memory.Stats) -> dict[str, Any]:
    """What was guarded and found since, as JSON has it."""
    stats = memory.stats()
    findings = [
        fields(sighting.finding)
        | {
            "count": stats.findings.get(cause, 0) - inherited.findings.get(cause, 0),
            "call": sighting.finding.call,
            "place": sighting.place,
            "blame": None if sighting.finding.blame is None else asdict(sighting.finding.blame),
        }
        for cause, sighting in memory.FIRST.items()
    ]
    return {"calls": stats.calls - inherited.calls, "probes": stats.probes - inherited.probes, "findings": findings}


def all_counts(guarding: Guarding) -> dict[str, Any]:
    """What was guarded and found in this process, and in those of multiprocessing that have ended."""
    total = counts_of_this_process(memory.Stats())
    findings = {finding["cause"]: finding for finding in total["findings"]}
    for left in sorted(Path(guarding.folder).glob("*.json")):
        counts = json.loads(left.read_text(encoding="utf-8"))
        total["calls"] += counts["calls"]
        total["probes"] += counts["probes"]
        for finding in counts["findings"]:
            known = findings.setdefault(finding["cause"], finding)
            if known is not finding:
                known["count"] += finding["count"]
    if Path(guarding.folder).is_dir():
        shutil.rmtree(guarding.folder)
    total["findings"] = list(findings.values())
    return total


def guard_from_here(ignore: tuple[str, ...]) -> Guarding:
    """Guard this process and those that it starts."""
    guarding = Guarding(modes.process, ignore, str(Path(tempfile.gettempdir(), f"safe_ce-{uuid4().hex}")))
    guarding.begin()
    return guarding
