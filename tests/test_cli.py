"""python -m safe_ce: the demo and the catalogue in the terminal."""

from __future__ import annotations

import subprocess
import sys

import pytest

from safe_ce.__main__ import main
from safe_ce.causes import CATALOGUE, HEADINGS
from safe_ce.demo import MISTAKES, digits


def test_the_demo_trains_and_names_five_mistakes():
    done = subprocess.run([sys.executable, "-m", "safe_ce", "demo"], capture_output=True, text=True, check=True)
    losses = [float(line.split()[3]) for line in done.stdout.splitlines() if line.startswith("  epoch")]
    assert losses[0] > 3 * losses[-1]
    for code in ("SCE101", "SCE201", "SCE301", "SCE302", "SCE209"):
        assert f"safe_ce.SafeCrossEntropyError: [{code}]" in done.stdout
    assert done.stdout.count("SafeCrossEntropyError: [") == len(MISTAKES)
    assert done.stderr == ""


def test_the_demo_s_data_are_real_digits():
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images.min() == 0
    assert images.max() == 1


def test_explain_prints_the_catalogue(capsys):
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[cause.code, cause.name] for cause in CATALOGUE]


@pytest.mark.parametrize("key", ["SCE101", "sce101", "softmax-applied"])
def test_explain_prints_an_entry(key, capsys):
    assert main(["explain", key]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("SCE101 softmax-applied (error)")
    assert all(heading in shown for heading in HEADINGS)


def test_explain_of_nothing_known_lists_the_valid_ones(capsys):
    assert main(["explain", "softmax"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert "'softmax'" in shown.err
    assert "SCE101 softmax-applied" in shown.err


@pytest.mark.parametrize("arguments", [[], ["train"], ["explain", "a", "b"]])
def test_bad_use_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "demo" in capsys.readouterr().out
