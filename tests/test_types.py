"""What type checkers make of the public names: in tests/typing they refuse the lines that are marked, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.regenerate import ROOT

FOLDER = ROOT / "tests" / "typing"
FILES = sorted(FOLDER.glob("*.py"))
MARK = "# error"


def run(*command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy():
    """Strict, as pyproject.toml has it: what it has found out of torch is kept for when it checks the package."""
    for line in run("mypy", "--output=json", *map(str, FILES)).splitlines():
        said = json.loads(line)
        if said["severity"] == "error":
            yield ROOT / said["file"], said["line"], said["message"]


def pyright():
    """Strict, as pyrightconfig.json beside the files has it."""
    report = json.loads(run("pyright", "--project", str(FOLDER), "--pythonpath", sys.executable, "--outputjson"))
    for said in report["generalDiagnostics"]:
        yield Path(said["file"]), said["range"]["start"]["line"] + 1, said["message"]


@pytest.mark.parametrize("checker", [mypy, pyright], ids=lambda checker: checker.__name__)
def test_a_type_checker_refuses_what_is_marked_and_nothing_else(checker):
    pytest.importorskip(checker.__name__)
    refused = {(file.name, line): message for file, line, message in checker() if file in FILES}
    marked = {
        (file.name, number)
        for file in FILES
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if line.endswith(MARK)
    }
    assert marked
    assert {place: message for place, message in refused.items() if place not in marked} == {}
    assert marked - refused.keys() == set()
