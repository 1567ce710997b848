"""Findings, the error and the warning that carry them, and diagnose()."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest
import torch

import safe_ce
from safe_ce import Finding, SafeCrossEntropyError, SafeCrossEntropyLoss, SafeCrossEntropyWarning, diagnose

SCORES, IDS = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])


def raised(*call, **options):
    with pytest.raises(SafeCrossEntropyError) as caught:
        SafeCrossEntropyLoss(mode="strict", **options)(*call)
    return caught.value


@pytest.mark.parametrize("builtin", [ValueError, IndexError, TypeError, NotImplementedError, RuntimeError])
def test_the_error_is_caught_by_handlers_for_native_s_classes(builtin):
    with pytest.raises(builtin):
        SafeCrossEntropyLoss()(SCORES, IDS[:, None])


def test_the_error_carries_its_findings():
    error = raised(SCORES, IDS[:, None])
    assert error.cause == error.findings[0].cause == "target-extra-dim"
    assert error.native == "RuntimeError: 0D or 1D target tensor expected, multi-target not supported"
    assert str(error).startswith("[SCE204] ")


def test_a_finding_has_the_public_fields():
    finding = raised(SCORES, IDS[:, None]).findings[0]
    assert (finding.code, finding.cause) == ("SCE204", "target-extra-dim")
    assert finding.severity == "error"
    assert finding.confidence == "certain"
    assert finding.summary == "the target has a stray dimension of size 1: (4, 1) instead of (4,)"
    assert all(isinstance(note, str) for note in finding.evidence)
    assert isinstance(finding.evidence, tuple)
    assert finding.fix == "target = target.squeeze(1)"
    assert finding.blame is None
    assert finding.help
    assert str(finding).startswith("[SCE204] ")


def test_a_traceback_shows_the_public_names():
    assert SafeCrossEntropyError.__module__ == SafeCrossEntropyWarning.__module__ == Finding.__module__ == "safe_ce"


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_and_warnings_travel_between_processes(twin):
    error = raised(SCORES, IDS[:, None])
    assert str(twin(error)) == str(error)
    assert twin(error).findings == error.findings
    warning = SafeCrossEntropyWarning(error.findings[0])
    assert str(twin(warning)) == str(warning)


def test_two_mistakes_are_both_found_and_the_one_that_native_raises_for_comes_first():
    error = raised(torch.randn(4, 3, requires_grad=True).softmax(1), IDS.int())
    assert [finding.cause for finding in error.findings[:2]] == ["wrong-int-target", "softmax-applied"]
    assert "also: [SCE101]" in str(error)


@pytest.mark.parametrize("rows", [6, 4])
def test_a_repair_mends_a_batch_of_another_size(rows):
    finding = diagnose(torch.randn(6, 3, 8, 8), torch.randint(3, (6, 1, 8, 8)) / 255)[0]
    space = {"target": torch.randint(3, (rows, 1, 8, 8)) / 255}
    exec(finding.fix, space)
    assert space["target"].shape == (rows, 8, 8)


def test_one_repair_mends_what_comes_together():
    finding = raised(SCORES[:, :, None, None], IDS[:, None].float()).findings[0]
    space = {"input": SCORES[:, :, None, None], "target": IDS[:, None].float()}
    exec(finding.fix, space)
    assert diagnose(space["input"], space["target"]) == ()


class TestDiagnose:
    def test_a_sound_call_has_no_findings(self):
        assert diagnose(SCORES, IDS) == ()

    def test_possible_findings_are_included(self):
        findings = diagnose(torch.rand(40, 3), torch.zeros(40).long())
        assert [(finding.cause, finding.confidence) for finding in findings] == [("sigmoid-applied", "possible")]

    def test_findings_come_best_first(self):
        findings = diagnose(torch.randn(16, 10), torch.zeros(4).long())
        assert findings[0].cause == "features-folded-into-batch"
        assert {finding.cause for finding in findings} >= {"logits-not-pooled", "ragged-batch"}

    def test_it_takes_native_s_options(self):
        assert diagnose(SCORES, IDS, reduction="average")[0].cause == "invalid-option"
        assert diagnose(SCORES, IDS, torch.ones(2))[0].cause == "weight-length-mismatch"
        assert diagnose(SCORES, torch.full((4,), 7), ignore_index=7)[0].cause == "all-targets-ignored"

    def test_an_unknown_option_is_an_error(self):
        with pytest.raises(TypeError):
            diagnose(SCORES, IDS, smoothing=0.1)

    def test_the_mode_does_not_matter(self):
        with safe_ce.mode("off"):
            assert diagnose(SCORES, IDS[:, None])[0].cause == "target-extra-dim"


def test_an_error_can_be_rebuilt_from_its_text():
    """As torch does with those of the workers of a data loader, and of the threads of nn.DataParallel."""
    error = raised(SCORES, IDS[:, None])
    twin = SafeCrossEntropyError(f"Caught SafeCrossEntropyError in replica 0.\n{error}")
    assert "Caught" in str(twin)
    assert str(error) in str(twin)
    assert (twin.findings, twin.cause) == ((), "target-extra-dim")
    again = pickle.loads(pickle.dumps(twin))
    assert (str(again), again.cause) == (str(twin), twin.cause)
    assert SafeCrossEntropyError("no report").cause == ""


def test_a_finding_s_annotations_can_be_read():
    assert typing.get_type_hints(Finding)["operands"] == tuple[safe_ce.Operand, ...]
