"""Small realistic programs, run as they are: each mistake gets its name and its line, and a sound program hears nothing.

In tests/programs a line with a mistake ends with a comment that names it. No comment, no mistake. Of a mistake that is made
where no mode of torch's sees it, in a setting or as bytes are read, the comment says so: no trail shows that line.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.regenerate import ROOT

FOLDER = ROOT / "tests" / "programs"
PROGRAMS = sorted(path / "main.py" if path.is_dir() else path for path in FOLDER.glob("[!_.]*"))


def files_of(program):
    return sorted(program.parent.glob("*.py")) if program.name == "main.py" else [program]


class Mistake(NamedTuple):
    cause: str
    line: tuple[str, int]
    can_be_seen: bool


def mistake_in(program):
    """The mistake that a program is marked with, or None."""
    marks = [
        Mistake(mark[1], (str(file), number), not mark[2])
        for file in files_of(program)
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (mark := re.search(r"# MISTAKE: ([\w-]+)( \(where no trail sees it\))?$", line))
    ]
    assert len(marks) < 2, "a program has one mistake"
    return marks[0] if marks else None


def name_of(program):
    return str(program.relative_to(FOLDER)).removesuffix(".py").removesuffix("/main")


def python(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=240,
    )


def run(program):
    """A program under the guard; a sound one in strict mode, and alone."""
    if mistake_in(program):
        return python("-m", "safe_ce", "run", "--json", str(program))
    return python(str(program)), python("-m", "safe_ce", "run", "--mode", "strict", str(program))


@pytest.fixture(scope="module")
def runs(request):
    """What the programs that are asked for do, two at a time."""
    tests = [item for item in request.session.items if "runs" in item.fixturenames]
    asked = {item.callspec.params["program"] for item in tests if hasattr(item, "callspec")}
    if any(not hasattr(item, "callspec") for item in tests):
        asked.update(MISTAKEN)
    with ThreadPoolExecutor(2) as pool:
        yield {program: pool.submit(run, program) for program in sorted(asked)}


MISTAKEN = [program for program in PROGRAMS if mistake_in(program)]
SOUND = [program for program in PROGRAMS if not mistake_in(program)]


def first_finding(runs, program):
    done = runs[program].result()
    found = json.loads(done.stdout.splitlines()[-1])["findings"]
    assert found, done.stderr
    return found[0]


@pytest.mark.parametrize("program", MISTAKEN, ids=name_of)
def test_a_mistake_gets_its_name(runs, program):
    assert first_finding(runs, program)["cause"] == mistake_in(program).cause


def lines_named(blame):
    """The line that is blamed, the one that called its function, and the one that built the layer."""
    if blame is None:
        return []
    return [(blame["filename"], blame["lineno"])] + [tuple(blame[name]) for name in ("called", "built") if blame[name]]


def test_nearly_every_marked_line_is_named(runs):
    seen = {program: mistake_in(program).line for program in MISTAKEN if mistake_in(program).can_be_seen}
    missed = [
        name_of(program)
        for program, line in seen.items()
        if line not in lines_named(first_finding(runs, program)["blame"])
    ]
    assert len(missed) <= 0.05 * len(seen), missed


@pytest.mark.parametrize("program", SOUND, ids=name_of)
def test_a_sound_program_hears_nothing(runs, program):
    alone, guarded = runs[program].result()
    assert (guarded.returncode, guarded.stdout) == (alone.returncode, alone.stdout)
    assert alone.returncode == 0
    assert re.fullmatch(
        r"safe_ce: guarded [\d,]+ calls? .*; nothing found\n", guarded.stderr.removeprefix(alone.stderr)
    )


def test_there_are_programs_of_both_kinds():
    assert len(MISTAKEN) >= 25
    assert len(SOUND) >= 10
