"""Earlier calls as evidence: the guard keeps the shapes of the last few, and they tell which side went ragged."""

from __future__ import annotations

import pytest
import torch

from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss, SafeCrossEntropyWarning
from safe_ce.memory import EARLIER


def after(sound, input_rows, target_rows, classes=10):
    """The first finding for a call of these row counts after sound calls of `sound` rows each."""
    criterion = SafeCrossEntropyLoss()
    for rows in sound:
        criterion(torch.randn(rows, classes), torch.zeros(rows).long())
    with pytest.raises(SafeCrossEntropyError) as caught:
        criterion(torch.randn(input_rows, classes), torch.zeros(target_rows).long())
    return caught.value.findings[0]


def test_the_target_dropped():
    finding = after([32, 32], 32, 17)
    assert finding.cause == "ragged-batch"
    assert finding.evidence == (
        "the target dropped from 32 to 17 rows, the logits stayed at 32: the model holds a fixed batch size",
    )


def test_the_logits_dropped():
    finding = after([32, 32], 17, 32)
    assert finding.cause == "ragged-batch"
    assert finding.evidence == (
        "the logits dropped from 32 to 17 rows, the target stayed at 32: labels of an earlier batch, or built for a"
        " full one",
    )


def test_a_side_may_rise():
    assert "the target rose from 17 to 32 rows" in after([17], 17, 32).evidence[0]


def test_counts_that_a_view_could_make_are_ragged_where_earlier_calls_were_sound():
    assert after([64, 64], 64, 16).cause == "ragged-batch"
    assert after([], 64, 16).cause == "features-folded-into-batch"


def test_without_earlier_calls_nothing_is_said_of_them():
    finding = after([], 32, 17)
    assert finding.cause == "ragged-batch"
    assert finding.evidence == ("neither count explains the other",)


def test_calls_of_another_kind_are_no_evidence():
    criterion = SafeCrossEntropyLoss()
    criterion(torch.randn(32, 3), torch.zeros(32).long())
    with pytest.raises(SafeCrossEntropyError) as caught:
        criterion(torch.randn(32, 10), torch.zeros(17).long())
    assert caught.value.findings[0].evidence == ("neither count explains the other",)


def test_only_the_last_few_shapes_are_kept():
    criterion = SafeCrossEntropyLoss()
    for rows in range(1, 3 * EARLIER):
        criterion(torch.randn(rows, 3), torch.zeros(rows).long())
    kept = criterion._memory.earlier
    assert len(kept) == EARLIER
    assert all(type(shape) is torch.Size for pair in kept for shape in pair)


def test_a_rejected_call_is_not_remembered():
    criterion = SafeCrossEntropyLoss()
    with pytest.raises(SafeCrossEntropyError):
        criterion(torch.randn(4, 3), torch.zeros(5).long())
    assert not criterion._memory.earlier


class TestABatchOfOnePair:
    """Where the classes are the batch, as in contrastive learning, a last batch of one has a single class."""

    def contrast(self, criterion, *sizes):
        for size in sizes:
            criterion(torch.randn(size, 5) @ torch.randn(size, 5).T, torch.arange(size))

    @pytest.mark.parametrize("mode", ["strict", "default"])
    def test_is_sound_after_larger_ones(self, mode):
        self.contrast(SafeCrossEntropyLoss(mode=mode), 4, 4, 1, 1, 4, 1)

    def test_is_worth_a_warning_where_there_were_no_others(self):
        with pytest.warns(SafeCrossEntropyWarning, match="single-logit"):
            self.contrast(SafeCrossEntropyLoss(), 1, 1)

    def test_of_two_rows_a_single_class_is_an_error(self):
        with pytest.raises(SafeCrossEntropyError, match="SCE106"):
            SafeCrossEntropyLoss()(torch.randn(2, 1), torch.zeros(2).long())
