"""Small realistic programs, run as they are: each mistake gets its name, and a sound program hears nothing.

In tests/programs a line with a mistake ends with a comment that names it. No comment, no mistake.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.regenerate import ROOT

FOLDER = ROOT / "tests" / "programs"
PROGRAMS = sorted(path / "main.py" if path.is_dir() else path for path in FOLDER.glob("[!_.]*"))


def files_of(program):
    return sorted(program.parent.glob("*.py")) if program.name == "main.py" else [program]


def mistake_in(program):
    """The cause that a program is marked with, or None."""
    marks = [
        mark
        for file in files_of(program)
        for mark in re.findall(r"# MISTAKE: ([\w-]+)$", file.read_text(), re.MULTILINE)
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
    asked = [item.callspec.params["program"] for item in request.session.items if "runs" in item.fixturenames]
    with ThreadPoolExecutor(2) as pool:
        yield {program: pool.submit(run, program) for program in asked}


MISTAKEN = [program for program in PROGRAMS if mistake_in(program)]
SOUND = [program for program in PROGRAMS if not mistake_in(program)]


@pytest.mark.parametrize("program", MISTAKEN, ids=name_of)
def test_a_mistake_gets_its_name(runs, program):
    done = runs[program].result()
    found = json.loads(done.stdout.splitlines()[-1])["findings"]
    assert [finding["cause"] for finding in found][:1] == [mistake_in(program)], done.stderr


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
