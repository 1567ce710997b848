"""python -m safe_ce audit: a loader by its name."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from safe_ce.__main__ import main
from tests.regenerate import ROOT

MODULE = """
import torch
from torch.utils.data import DataLoader, TensorDataset

inputs, labels = torch.zeros(40, 3), torch.arange(40) % 4
bad = labels.clone()
bad[17] = -1

def make_loader():
    return DataLoader(TensorDataset(inputs, labels), batch_size=8)

def make_bad():
    return DataLoader(TensorDataset(inputs, bad), batch_size=8)

loader = make_loader()
batches = [{"x": inputs, "mask": bad}]
number = 7

def endless():
    yield inputs, bad
    yield from sound()

def sound():
    from pathlib import Path

    Path("begun").touch()
    while True:
        yield inputs, labels

def fail():
    yield inputs, labels
    raise OSError("no such file")

class Task:
    train = make_bad()

class Loader(DataLoader):
    def __init__(self):
        super().__init__(TensorDataset(inputs, labels), batch_size=8)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "data.py").write_text(MODULE)
    (tmp_path / "needy.py").write_text("import not_installed_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("project", "needy")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["project.data:make_loader", "project.data:loader", "project.data:Loader"])
def test_a_sound_loader_ends_with_0(name, capsys):
    assert main(["audit", name, "--num-classes", "4"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("safe_ce.audit: 40 samples in 5 batches: nothing wrong\n")
    assert shown.err == ""


@pytest.mark.parametrize("arguments", [["project.data:make_bad"], ["project.data:Task.train", "--num-classes", "4"]])
def test_a_broken_one_ends_with_1_and_names_the_sample(arguments, capsys):
    assert main(["audit", *arguments]) == 1
    assert "at: batch 2, position 1, dataset[17]: label -1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["project.data:make_bad", "--ignore-index", "-1"],
        ["project.data:make_bad", "--batches", "2"],
        ["project.data:batches", "--target", "mask", "--ignore-index", "-1"],
        ["project.data:loader", "--target", "1"],
        ["project.data:loader", "--target", "-1"],
    ],
)
def test_options_are_those_of_the_function(arguments, capsys):
    assert main(["audit", *arguments]) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_json_is_one_object(capsys):
    assert main(["audit", "project.data:make_bad", "--num-classes", "4", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert not shown["ok"]
    assert shown["findings"][0]["samples"] == [{"batch": 2, "position": 1, "index": 17, "seen": "label -1"}]
    assert shown["counts"] == [10, 9, 10, 10]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("project.data", "is not of the form package.module:make_loader"),
        (":make_loader", "is not of the form"),
        ("project.nothing:make_loader", "there is no module project.nothing"),
        ("nothing:make_loader", "there is no module nothing"),
        ("project.data:nothing", "project.data has no nothing"),
        ("project.data:number", "gives int, which is no loader"),
        ("project.data:batches", "pass target=, one of 'x': float32 (40, 3); 'mask': int64 (40,)"),
        ("project.data:inputs", "pass target="),
        ("project.data:inputs", "Here it is --target"),
    ],
)
def test_what_is_no_loader_ends_with_2_and_one_line(name, says, capsys):
    assert main(["audit", name]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert says in shown.err


@pytest.mark.parametrize("arguments", [[], ["a:b", "--num-classes", "many"], ["a:b", "c:d"]])
def test_bad_use_ends_with_2_and_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["audit", *arguments])
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("options", [["--num-classes", "1"], ["--batches", "0"]])
def test_numbers_that_make_no_sense_end_with_2(options, capsys):
    assert main(["audit", "project.data:loader", *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_a_module_needs_and_has_not_is_shown_whole(capsys):
    assert main(["audit", "needy:loader"]) == 2
    assert "ModuleNotFoundError: No module named 'not_installed_at_all'" in capsys.readouterr().err


def test_what_the_loader_raises_comes_out_with_the_batch():
    command = [sys.executable, "-m", "safe_ce", "audit", "project.data:fail"]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "OSError: no such file\nsafe_ce.audit: in batch 1, counted from 0\n" in done.stderr
    assert "safe_ce.audit: the first 40 samples in 1 batch: nothing wrong" in done.stderr


# A process that a shell puts into the background is started with Ctrl-C ignored.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("safe_ce", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(("name", "status"), [("endless", 1), ("sound", 130)])
def test_ctrl_c_ends_it_with_what_was_found_so_far(name, status, tmp_path):
    command = [sys.executable, "-c", INTERRUPTIBLE, "audit", f"project.data:{name}"]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as audit:
        try:
            while not (tmp_path / "begun").exists():
                assert audit.poll() is None
                time.sleep(0.05)
            audit.send_signal(signal.SIGINT)
            shown, errors = audit.communicate(timeout=60)
        finally:
            audit.kill()  # it is endless
    assert audit.returncode == status
    assert shown.startswith("safe_ce.audit: stopped after ")
    assert ("at: batch 0, position 17: label -1" in shown) == (status == 1)
    assert errors == ""
