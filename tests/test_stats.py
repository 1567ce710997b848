"""What production sees: counts, callbacks, log records, and the rank."""

from __future__ import annotations

import logging
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import safe_ce
from safe_ce import SafeCrossEntropyLoss, Stats
from safe_ce.memory import GONE
from tests import saying

TARGET = torch.tensor([0, 1, 2, 0])


def raw():
    return torch.randn(4, 3, requires_grad=True)


def grown(before):
    """What the process has counted since."""
    after = safe_ce.stats()
    causes = {cause: count - before.findings.get(cause, 0) for cause, count in after.findings.items()}
    return Stats(after.calls - before.calls, after.probes - before.probes, {c: n for c, n in causes.items() if n})


def calls_of_every_kind(call, mode):
    with safe_ce.mode(mode):
        for _ in range(12):
            saying.said(call, raw(), TARGET)
        for _ in range(5):
            saying.said(call, raw().relu(), TARGET)
        for _ in range(3):
            saying.said(call, raw().softmax(1), TARGET)
        saying.said(call, raw(), TARGET[:, None])
        saying.said(call, raw(), TARGET + 9)


FOUND = {"relu-applied": 5, "softmax-applied": 3, "target-extra-dim": 1, "label-out-of-range": 1}


@pytest.mark.parametrize("mode", ["strict", "default", "warn"])
class TestCounts:
    def test_of_a_loss(self, mode):
        criterion = SafeCrossEntropyLoss()
        before = safe_ce.stats()
        calls_of_every_kind(criterion, mode)
        stats = criterion.stats()
        assert (stats.calls, stats.findings) == (22, FOUND)
        assert 0 < stats.probes <= 22
        assert grown(before) == stats

    def test_of_the_function(self, mode):
        before = safe_ce.stats()
        calls_of_every_kind(safe_ce.cross_entropy, mode)
        assert (grown(before).calls, grown(before).findings) == (22, FOUND)

    def test_of_native_s_own_callers(self, mode):
        before = safe_ce.stats()
        with safe_ce.guarded():
            calls_of_every_kind(nn.CrossEntropyLoss(), mode)
        assert (grown(before).calls, grown(before).findings) == (22, FOUND)


def test_nothing_is_counted_in_mode_off():
    before = safe_ce.stats()
    calls_of_every_kind(SafeCrossEntropyLoss(), "off")
    assert grown(before) == Stats()


def test_the_counts_of_losses_that_are_gone_stay():
    before = safe_ce.stats()
    for _ in range(3 * GONE):
        SafeCrossEntropyLoss()(raw(), TARGET)
    assert grown(before) == Stats(3 * GONE, 3 * GONE, {})


def test_what_constructors_are_given_is_counted_too():
    before = safe_ce.stats()
    with pytest.raises(safe_ce.SafeCrossEntropyError):
        SafeCrossEntropyLoss(reduction="avg")
    assert grown(before) == Stats(0, 0, {"invalid-option": 1})


def test_a_loss_s_counts_begin_with_it_and_stay_its_own():
    criterion = SafeCrossEntropyLoss()
    assert criterion.stats() == Stats(0, 0, {})
    criterion(raw(), TARGET)
    stats = criterion.stats()
    stats.findings["softmax-applied"] = 99
    assert criterion.stats() == Stats(1, 1, {})


def test_threads_may_ask_while_others_train():
    criterion, stop, asked = SafeCrossEntropyLoss(), threading.Event(), []

    def ask():
        while not stop.is_set():
            asked.append(safe_ce.stats().calls)

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(300):
        criterion(raw(), TARGET)
        SafeCrossEntropyLoss()(raw(), TARGET)
    stop.set()
    thread.join()
    assert criterion.stats().calls == 300


class TestTheCallback:
    @pytest.mark.parametrize(
        ("mode", "input"),
        [("warn", "softmax"), ("default", "softmax"), ("warn", "relu"), ("default", "relu"), ("strict", "relu")],
    )
    def test_gets_every_finding_with_the_call_s_number(self, mode, input):
        found = []
        criterion = SafeCrossEntropyLoss(mode=mode, on_finding=found.append)
        criterion(raw(), TARGET)
        for _ in range(30):
            logits = raw().softmax(1) if input == "softmax" else raw().relu()
            saying.said(criterion, logits, TARGET)
        assert [finding.call for finding in found] == list(range(2, 32))
        assert {finding.cause for finding in found} == {f"{input}-applied"}

    @pytest.mark.expects_faults
    def test_that_raises_is_logged_once_in_warn_mode_and_training_goes_on(self, caplog):
        def broken(finding):
            raise OSError("the metrics server is away")

        criterion = SafeCrossEntropyLoss(mode="warn", on_finding=broken)
        for _ in range(5):
            saying.said(criterion, raw().relu(), TARGET)
        records = [record for record in caplog.records if "the metrics server is away" in record.getMessage()]
        assert len(records) == 1
        assert criterion.stats().calls == 5

    def test_that_makes_a_mistaken_call_itself_is_not_called_for_that(self):
        def careless(finding):
            found.append(finding.cause)
            F.cross_entropy(raw().softmax(1), TARGET)

        found = []
        with safe_ce.guarded("warn", on_finding=careless):
            saying.said(F.cross_entropy, raw().relu(), TARGET)
        assert found == ["relu-applied"]

    @pytest.mark.parametrize("mode", ["default", "strict"])
    def test_that_raises_is_heard_in_the_other_modes(self, mode):
        def broken(finding):
            raise OSError("the metrics server is away")

        with safe_ce.guarded(mode, on_finding=broken), pytest.raises(OSError, match="away"):
            F.cross_entropy(raw().relu(), TARGET)


class TestLogging:
    @pytest.fixture(autouse=True)
    def logged(self, caplog):
        caplog.set_level(logging.WARNING, "safe_ce")
        safe_ce.set_logging()
        return caplog

    @pytest.mark.expects_faults
    def test_what_would_be_warned_about_is_logged_once(self, logged):
        criterion = SafeCrossEntropyLoss()
        assert [saying.said(criterion, raw().relu(), TARGET) for _ in range(5)] == [[]] * 5
        (record,) = logged.records
        assert (record.name, record.levelname) == ("safe_ce", "WARNING")
        assert record.finding.cause == "relu-applied"
        assert record.getMessage() == str(record.finding)
        assert record.pathname.endswith("saying.py")

    @pytest.mark.expects_faults
    def test_what_raises_raises_and_is_not_logged(self, logged):
        assert saying.said(SafeCrossEntropyLoss(), raw().softmax(1), TARGET).cause == "softmax-applied"
        assert logged.records == []

    @pytest.mark.expects_faults
    def test_constructors_log_as_well(self, logged):
        SafeCrossEntropyLoss(weight=torch.tensor([1.0, -1.0]))
        assert [record.finding.cause for record in logged.records] == ["weight-invalid"]

    def test_can_be_turned_off_again(self, logged):
        safe_ce.set_logging(False)
        assert saying.said(SafeCrossEntropyLoss(), raw().relu(), TARGET) == ["relu-applied"]
        assert logged.records == []


class TestTheRank:
    @pytest.mark.parametrize(
        ("environment", "rank"),
        [
            ({"RANK": "3", "WORLD_SIZE": "4"}, 3),
            ({"RANK": "0", "WORLD_SIZE": "2"}, 0),
            ({"RANK": "0", "WORLD_SIZE": "1"}, None),
            ({"RANK": "3"}, None),
            ({"RANK": "A", "WORLD_SIZE": "suite"}, None),
            ({}, None),
        ],
    )
    def test_is_said_where_a_launcher_has_set_one(self, monkeypatch, environment, rank):
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        error = saying.said(SafeCrossEntropyLoss(), raw().softmax(1), TARGET)
        assert error.findings[0].rank == rank
        assert (f"note: on rank {rank}" in str(error)) == (rank is not None)
        with pytest.warns(safe_ce.SafeCrossEntropyWarning) as caught:
            SafeCrossEntropyLoss()(raw().relu(), TARGET)
        assert ("on rank" in str(caught[0].message)) == (rank is not None)
