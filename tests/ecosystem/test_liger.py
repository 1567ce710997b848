"""Liger's kernels in the place of the cross entropy, on a CPU, where triton interprets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

for package in ("liger_kernel", "triton", "transformers"):
    if find_spec(package) is None:  # triton reads how it is to run when it is imported: not here
        pytest.skip(f"could not find {package!r}", allow_module_level=True)


@pytest.fixture(scope="module")
def seen():
    """What the program saw, in a process of its own: Liger changes transformers for good."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.ecosystem.liger_program"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_its_cross_entropy_is_called_and_a_sound_program_trains_untouched(seen):
    assert seen["liger"] != seen["native"]
    for losses_and_gradient in seen["guarded"].values():
        assert losses_and_gradient == seen["liger"]
    assert seen["calls"] == 3 * len(seen["guarded"])


def test_it_is_put_back(seen):
    assert seen["put back"]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("softmax", "softmax-applied"),
        ("relu", ["relu-applied"]),
        ("labels", "label-out-of-range"),
        ("rows", "ragged-batch"),
    ],
)
def test_a_mistake_has_its_cause(seen, mistake, said):
    assert seen[mistake] == said


def test_in_warn_mode_its_own_exception_has_the_diagnosis_as_a_note(seen):
    raised, note = seen["labels, warn"]
    assert raised == "AssertionError"
    assert "[SCE210]" in note


def test_in_warn_mode_it_is_told_that_it_accepts_what_native_does_not(seen):
    assert seen["rows, warn"] == ["ragged-batch"]


def test_the_one_that_fuses_the_last_layer_too_has_no_logits_and_is_left_alone(seen):
    for losses_and_gradient in seen["fused, guarded"].values():
        assert losses_and_gradient == seen["fused"]
    assert seen["fused, calls"] == 0
