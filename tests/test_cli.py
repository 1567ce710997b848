"""python -m safe_ce: the demo and the catalogue in the terminal."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("text", ["softmax", "KeyError: 'loss'", "", "a line\n" * 500])
def test_explain_of_nothing_known_says_so_in_one_line(text, capsys):
    assert main(["explain", text]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert "neither a code, a cause nor a known message" in shown.err
    assert "python -m safe_ce explain lists the codes" in shown.err


MESSAGE = "ValueError: Expected input batch_size (324) to match target batch_size (4)."


def test_explain_of_a_message_says_what_it_means_and_how_its_causes_are_told_apart(capsys):
    assert main(["explain", MESSAGE]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("324 rows of logits against 4 targets: 324 = 4 * 81, 81 rows for every target")
    assert f"\n  native: {MESSAGE}\n" in shown
    assert shown.index("SCE302 features-folded-into-batch") < shown.index("SCE307 logits-not-pooled")
    assert "    shapes: input (324, C), target (4,)\n" in shown
    assert "    tell: the model calls view(-1, k)" in shown
    assert "SafeCrossEntropyLoss" in shown
    assert "SAFE_CE_MODE=strict" in shown
    assert shown.endswith("  more: python -m safe_ce explain SCE302\n")


def test_explain_reads_a_log_from_standard_input():
    log = f"epoch 3\xff\n\x1b[31m{MESSAGE}\x1b[0m\nexiting\n".encode("latin-1")
    done = subprocess.run([sys.executable, "-m", "safe_ce", "explain", "-"], input=log, capture_output=True, check=True)
    assert b"SCE302" in done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize(
    "log",
    [
        "safe_ce.SafeCrossEntropyError: [SCE204] the target has a stray dimension\n  also possible: [SCE201] one-hot",
        "SafeCrossEntropyWarning: [SCE101] softmax-applied\nsafe_ce.SafeCrossEntropyError: [SCE204] the target",
        "  more: python -m safe_ce explain SCE204",
    ],
)
def test_explain_finds_the_guard_s_own_report_in_a_log(log, capsys):
    assert main(["explain", log]) == 0
    assert capsys.readouterr().out.startswith("SCE204 target-extra-dim")


FIELDS = {"code", "cause", "severity", "confidence", "summary", "evidence", "help", "fix", "title"}


def test_explain_prints_json(capsys):
    assert main(["explain", "--json", MESSAGE]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"message", "meaning", "note", "findings"}
    assert shown["message"] == MESSAGE
    assert shown["note"] is None
    assert all(set(finding) == FIELDS | {"tell"} for finding in shown["findings"])
    assert main(["explain", "--json", "SCE204"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"code", "cause", "severity", "title", "help", "sections"}
    assert main(["explain", "--json"]) == 0
    assert [cause["code"] for cause in json.loads(capsys.readouterr().out)["causes"]] == [c.code for c in CATALOGUE]


def diagnosed(capsys, *arguments):
    assert main(["diagnose", *arguments]) == 0
    return capsys.readouterr().out


def test_diagnose_prints_the_report_for_shapes(capsys):
    shown = diagnosed(capsys, "--input", "4x10", "--target", "4x1:int64")
    assert shown.startswith("[SCE204] the target has a stray dimension of size 1")
    assert "        target = target.squeeze(1)\n" in shown
    assert "  native: RuntimeError: 0D or 1D target tensor expected" in shown


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--input 16x10 --target 4", "SCE302"),
        ("--input 10 --target 4", "SCE300"),
        ("--input 4x10 --target scalar", "SCE206"),
        ("--input 4x10 --target 4:int", "SCE208"),
        ("--input 4x10 --target 4 --weight 3", "SCE403"),
        ("--input 4x10 --target 4 --weight 10:float64", "SCE404"),
        ("--input 4x10 --target 4 --reduction avg", "SCE407"),
        ("--input 4x10 --target 4 --label-smoothing 1.5", "SCE407"),
        ("--input 4x10 --target 4x10:float32 --ignore-index 0", "SCE407"),
        ("--input 900000000x10000 --target 7x7", "SCE3"),
    ],
)
def test_diagnose_takes_dtypes_and_options(arguments, code, capsys):
    assert diagnosed(capsys, *arguments.split()).startswith(f"[{code}")


@pytest.mark.parametrize("input", ["4x10", "4x10:float16", "4x10x0"])
def test_diagnose_says_that_native_accepts_shapes(input, capsys):
    target = "4x0" if input.endswith("x0") else "4"
    shown = diagnosed(capsys, "--input", input, "--target", target, "--reduction", "sum")
    assert shown == "native accepts these shapes; values can still be wrong\n"


def test_diagnose_tells_what_native_accepts_in_silence(capsys):
    accepted, first, *_ = diagnosed(capsys, "--input", "4x1", "--target", "4").splitlines()
    assert accepted == "native accepts these shapes; values can still be wrong"
    assert first.startswith("[SCE106] ")


def test_diagnose_prints_json(capsys):
    shown = json.loads(diagnosed(capsys, "--json", "--input", "4x10", "--target", "4x1"))
    assert shown["accepted"] is False
    assert shown["native"].startswith("RuntimeError: ")
    assert set(shown["findings"][0]) == FIELDS
    assert shown["findings"][0]["fix"] == "target = target.squeeze(1)"
    shown = json.loads(diagnosed(capsys, "--json", "--input", "4x10", "--target", "4"))
    assert shown == {"accepted": True, "native": None, "findings": []}


@pytest.mark.parametrize(
    ("input", "says"),
    [
        ("4x10:int65", "the dtypes are float16, bfloat16, float32"),
        ("4,10", "SHAPE[:DTYPE], such as 4x10"),
        ("", "SHAPE[:DTYPE], such as 4x10"),
        ("-4", "SHAPE[:DTYPE], such as 4x10"),
        ("x".join(["9" * 18] * 4), "no tensor is as large"),
    ],
)
def test_diagnose_refuses_what_is_no_shape_in_one_line(input, says, capsys):
    assert main(["diagnose", f"--input={input}", "--target", "4"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert says in shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["explain", "a", "b"],
        ["diagnose", "--input", "4x10"],
        ["diagnose", "--input", "4x10", "--target", "4", "--ignore-index", "many"],
    ],
)
def test_bad_use_exits_with_2_and_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "demo" in capsys.readouterr().out
