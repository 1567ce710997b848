"""The documents: generated ones are up to date, and shown code runs."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tomllib
import warnings

import pytest

import safe_ce
from safe_ce import auditing, loss, memory, modes, patching, recording
from safe_ce.causes import CATALOGUE
from tests.regenerate import GOLDEN, ROOT, golden, stale

EXPORTERS = ("tensorboard", "prometheus_client")

README = (ROOT / "README.md").read_text()


def test_generated_documents_are_up_to_date():
    assert [str(path) for path in stale()] == [], "run: python -m tests.regenerate"


@pytest.mark.parametrize("cause", CATALOGUE, ids=lambda cause: cause.name)
def test_the_golden_report(cause):
    assert (GOLDEN / f"{cause.code}.txt").read_text() == golden(cause), "run: python -m tests.regenerate"


@pytest.mark.parametrize("cause", CATALOGUE, ids=lambda cause: cause.name)
def test_a_report_names_its_fact_first_and_asks_nothing(cause):
    report = golden(cause)
    headline = report.splitlines()[0]
    assert headline.startswith(f"[{cause.code}] ")
    assert "?" not in report
    assert "\n  help: " in report
    assert f"\n  more: python -m safe_ce explain {cause.code}\n" in report
    assert all(len(line) <= 100 or "native:" in line or line.startswith("[") for line in report.splitlines())


@pytest.mark.parametrize(
    "module", [auditing, loss, memory, modes, patching, recording], ids=lambda module: module.__name__
)
def test_examples_in_docstrings_run(module):
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    safe_ce.set_mode(None)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("code", re.findall(r"(?<!trail's program -->\n)```python\n(.*?)```", README, re.DOTALL))
def test_the_readme_s_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "readme"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(code, space)
        except ModuleNotFoundError as error:
            if error.name not in EXPORTERS:
                raise
            pytest.skip(f"{error.name} is not installed")
    if "server" in space:
        space["server"].shutdown()
        space["server"].server_close()


def test_the_readme_s_report_is_a_real_one():
    shown = re.search(r"```text\nsafe_ce\.SafeCrossEntropyError: (.*?)```", README, re.DOTALL)[1]
    code = re.search(r"<!-- the report's program -->\n```python\n(.*?)```", README, re.DOTALL)[1]
    space = {}
    exec(code, space)
    assert str(space["error"]) == shown.strip()


def test_the_readme_s_trail_is_a_real_one(tmp_path):
    shown = re.search(r"```text\n\$ python -m safe_ce run train.py\n(.*?)```", README, re.DOTALL)[1]
    code = re.search(r"<!-- the trail's program -->\n```python\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "train.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "safe_ce", "run", "train.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert shown in done.stderr


def test_the_readme_s_audit_is_a_real_one(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    shown = re.search(r"```text\n(safe_ce\.audit: .*?)```", README, re.DOTALL)[1]
    code = re.search(r"<!-- the audit's program -->\n```python\n(.*?)```", README, re.DOTALL)[1]
    space = {}
    exec(code, space)
    assert str(space["found"]) == shown.strip()
    assert capsys.readouterr().out.strip() == shown.strip()


def test_the_readme_counts_the_catalogue():
    assert f"It knows {len(CATALOGUE) - 1} mistakes by name" in README  # contract-broken is no mistake by name


def test_public_names_have_docstrings():
    for name in safe_ce.__all__:
        assert getattr(safe_ce, name).__doc__


def test_the_version_is_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{safe_ce.__version__}]" in changelog
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [name.split(">")[0] for name in project["dependencies"]] == ["torch", "typing-extensions"]
