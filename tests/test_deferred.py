"""Values on an accelerator: sent without waiting, read at a later call, and never lost."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss, SafeCrossEntropyWarning, arrival, deferred, probe
from tests import saying
from tests.standin import Queue

TARGET = torch.tensor([0, 1, 2, 0])


@pytest.fixture
def queue(monkeypatch):
    """CPU tensors behave as an accelerator's."""
    stand_in = Queue()
    monkeypatch.setitem(deferred.QUEUES, "cpu", stand_in)
    monkeypatch.setattr(deferred, "AT_ONCE", ())
    return stand_in


@pytest.fixture
def launched(queue, monkeypatch):
    """Native as on CUDA: a bad label fails later, and every call after that."""
    native = F.cross_entropy

    def launch(input, target, **options):
        if queue.ended:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return native(input, target % input.shape[1], **options)

    monkeypatch.setattr(F, "cross_entropy", launch)
    for name in ("bounds", "is_readable"):  # nor can anything be read of a device that has failed
        monkeypatch.setattr(probe, name, failing(getattr(probe, name), queue))
    return queue


def failing(function, queue):
    def ask(tensor):
        if queue.ended and queue.holds(tensor):
            raise RuntimeError("CUDA error: device-side assert triggered")
        return function(tensor)

    return ask


def sound():
    return torch.randn(4, 3)


def said(criterion, input, target=TARGET):
    return saying.said(criterion, input, target)


class TestALaterCall:
    def test_says_what_has_arrived(self, queue):
        criterion = SafeCrossEntropyLoss()
        assert said(criterion, sound().softmax(1)) == []
        assert said(criterion, sound()) == []  # the device is behind
        queue.run()
        error = said(criterion, sound())
        assert error.cause == "softmax-applied"
        assert error.findings[0].call == 1
        assert "seen in call 1, 1 call ago: on an accelerator values are read once they have arrived" in str(error)
        assert queue.waits == 0

    def test_counts_how_many_calls_ago_it_was(self, queue):
        criterion = SafeCrossEntropyLoss()
        said(criterion, sound())
        said(criterion, sound().softmax(1))
        for _ in range(3):
            said(criterion, sound())
        queue.run()
        assert "seen in call 2, 3 calls ago" in str(said(criterion, sound()))

    def test_goes_on_where_nothing_is_wrong(self, queue):
        criterion = SafeCrossEntropyLoss(mode="warn")
        for _ in range(30):
            assert said(criterion, sound()) == []
            queue.run()

    def test_warns_in_warn_mode_and_once(self, queue):
        criterion = SafeCrossEntropyLoss(mode="warn")
        seen = []
        for _ in range(6):
            seen += said(criterion, sound().softmax(1))
            queue.run()
        assert seen == ["softmax-applied"]

    def test_asks_nothing_of_a_stream_that_is_captured(self, queue):
        criterion = SafeCrossEntropyLoss()
        said(criterion, sound().softmax(1))
        queue.run()
        queue.capturing = True
        assert said(criterion, sound()) == []
        queue.capturing = False
        assert said(criterion, sound()).cause == "softmax-applied"


MISTAKES = {
    "softmax-applied": (sound().softmax(1), TARGET, {}),
    "logits-not-finite": (sound() / 0, TARGET, {}),
    "label-out-of-range": (sound(), TARGET + 7, {}),
    "ignore-index-mismatch": (torch.randn(2, 5, 4), torch.tensor([[0, 1, 4, -1], [2, 3, -1, -1]]), {}),
    "all-targets-ignored": (sound(), TARGET * 0 - 100, {}),
    "target-not-normalized": (sound(), torch.full((4, 3), 0.5), {}),
    "weight-invalid": (sound(), TARGET, {"weight": torch.tensor([1.0, float("nan"), 1.0])}),
    "multi-hot-target": (sound(), torch.tensor([[1.0, 1, 0]] * 4), {}),
}


class TestTheMistakesThatOnlyValuesShow:
    @pytest.mark.parametrize("cause", MISTAKES)
    @pytest.mark.filterwarnings("ignore::safe_ce.SafeCrossEntropyWarning")
    def test_are_found(self, launched, cause):
        input, target, options = MISTAKES[cause]
        seen = []
        criterion = SafeCrossEntropyLoss(mode="warn", on_finding=seen.append, **options)
        seen.clear()  # a weight is looked at when it is given, too
        criterion(input, target)
        assert not seen
        criterion.flush()
        assert cause in {finding.cause for finding in seen}

    @pytest.mark.parametrize("ignored", [-100, 255])
    @pytest.mark.parametrize("bad", [(), (7,), (5, 7, 9)])
    def test_are_found_in_a_target_of_which_a_sample_is_sent(self, monkeypatch, ignored, bad):
        monkeypatch.setattr(deferred, "LABELS", 64)
        input, target = torch.randn(2, 3, 20, 20), torch.randint(3, (2, 20, 20))
        target[0, 0, :5] = ignored
        target[1, 1, : len(bad)] = torch.tensor(bad)
        parts = deferred.parts(input, target, None, ignored, due=True)
        assert sum(part.numel() for name, part in parts.items() if name != "scores") < 64 + 10
        told = (input.shape, input.dtype), (target.shape, target.dtype), None, ignored, "mean", 0.0
        evidence = deferred.Evidence(1, None, told, parts, None, None)
        assert arrival.is_odd(evidence) == bool(bad)
        call = arrival.call_of(evidence)
        assert call.rejected == bool(bad)
        found = call.labels.bad(3)
        assert found.count == len(bad)
        assert set(bad[-1:]) <= set(found.values) <= set(bad)

    def test_a_target_that_is_ignored_whole_is_found_by_its_summary(self, monkeypatch):
        monkeypatch.setattr(deferred, "LABELS", 64)
        target = torch.full((400,), -100)
        parts = deferred.parts(torch.randn(400, 3), target, None, -100, due=True)
        told = ((400, 3), torch.float32), ((400,), torch.int64), None, -100, "mean", 0.0
        assert arrival.is_odd(deferred.Evidence(1, None, told, parts, None, None))


class TestLabels:
    """A bad label ends the context of a CUDA device, so labels are sent in every call."""

    def sent_after_the_first_looks(self, queue):
        criterion = SafeCrossEntropyLoss()
        for _ in range(15):
            queue.run()
            said(criterion, sound())
        return [set(evidence.parts) for evidence in criterion._memory.under_way]

    def test_are_sent_between_two_looks(self, queue):
        assert self.sent_after_the_first_looks(queue) == [{"labels"}]

    def test_a_large_target_is_sent_on_schedule_alone(self, queue, monkeypatch):
        monkeypatch.setattr(deferred, "LABELS", 3)
        assert self.sent_after_the_first_looks(queue) == []


BAD = torch.tensor([0, 1, 3, 0])


class TestAnEndedContext:
    def test_is_explained_by_the_next_call(self, launched):
        criterion = SafeCrossEntropyLoss()
        for _ in range(3):
            criterion(sound(), TARGET)
            launched.run()
        criterion(sound(), BAD)
        launched.end()
        with pytest.raises(SafeCrossEntropyError) as caught:
            criterion(sound(), TARGET)
        assert caught.value.cause == "label-out-of-range"
        assert "label 3 is out of range for 3 classes, 0 to 2" in str(caught.value)
        assert "seen in call 4, 1 call ago" in str(caught.value)
        assert "native: RuntimeError: CUDA error: device-side assert triggered" in str(caught.value)

    def test_is_explained_by_a_note_in_warn_mode(self, launched):
        criterion = SafeCrossEntropyLoss(mode="warn")
        criterion(sound(), BAD)
        launched.end()
        with pytest.raises(RuntimeError, match="device-side assert") as caught:
            criterion(sound(), TARGET)
        assert "[SCE210]" in caught.value.__notes__[0]

    def test_is_explained_by_flush(self, launched):
        criterion = SafeCrossEntropyLoss()
        criterion(sound(), BAD)
        launched.end()
        with pytest.raises(SafeCrossEntropyError, match="label 3 is out of range"):
            criterion.flush()
        criterion.flush()  # nothing is left

    def test_is_not_laid_on_labels_that_had_not_arrived(self, launched):
        criterion = SafeCrossEntropyLoss()
        criterion(sound(), TARGET)
        launched.ended = True
        with pytest.raises(RuntimeError) as caught:
            criterion(sound(), TARGET)
        assert type(caught.value) is RuntimeError
        assert not criterion._memory.under_way

    def test_is_not_laid_on_sound_labels(self, launched):
        criterion = SafeCrossEntropyLoss()
        criterion(sound(), TARGET)
        launched.end()
        with pytest.raises(RuntimeError) as caught:
            criterion(sound(), TARGET)
        assert type(caught.value) is RuntimeError
        assert not hasattr(caught.value, "__notes__")


class TestFlush:
    def test_waits_and_says(self, queue):
        criterion = SafeCrossEntropyLoss()
        said(criterion, sound().softmax(1))
        with pytest.raises(SafeCrossEntropyError) as caught:
            criterion.flush()
        assert "seen in call 1:" in str(caught.value)
        assert queue.waits == 1
        criterion.flush()  # nothing is left

    def test_of_the_function(self, queue):
        with pytest.warns(SafeCrossEntropyWarning):
            safe_ce.cross_entropy(sound().softmax(1), TARGET, mode="warn")
            with safe_ce.mode("warn"):
                safe_ce.flush()

    def test_of_native_s_own_callers_as_they_are_guarded(self, queue):
        found = []
        with safe_ce.guarded(on_finding=found.append):
            F.cross_entropy(sound().softmax(1), TARGET)
        with pytest.raises(SafeCrossEntropyError):
            safe_ce.flush()
        with safe_ce.guarded(ignore=["softmax-applied"]):
            F.cross_entropy(sound().softmax(1), TARGET)
        safe_ce.flush()
        assert [finding.cause for finding in found] == ["softmax-applied"]

    def test_of_a_loss_that_was_never_called(self):
        SafeCrossEntropyLoss().flush()


class TestWhatIsHeld:
    def test_no_tensor_of_the_user_s(self, queue):
        criterion = SafeCrossEntropyLoss(weight=torch.ones(3))
        input, target = sound().requires_grad_(), TARGET.clone()
        alive = weakref.ref(input), weakref.ref(target)
        criterion(input, target)
        assert criterion._memory.under_way
        del input, target
        gc.collect()
        assert [reference() for reference in alive] == [None, None]

    def test_no_more_than_a_few_calls(self, queue):
        criterion = SafeCrossEntropyLoss()
        for _ in range(3 * deferred.UNDER_WAY):
            said(criterion, sound())
        assert len(criterion._memory.under_way) == deferred.UNDER_WAY

    def test_and_nothing_in_mode_off_or_where_it_is_told_to_look_at_none(self, queue):
        for criterion in (SafeCrossEntropyLoss(mode="off"), SafeCrossEntropyLoss(probe="never")):
            said(criterion, sound())
            assert not criterion._memory.under_way

    def test_the_host_gets_a_bounded_part(self):
        input, target = torch.randn(64, 5000), torch.randint(5000, (64,))
        sent = deferred.parts(input, target, None, -100, due=True)
        assert sum(part.numel() for part in sent.values()) <= deferred.SCORES + deferred.LABELS
        assert sent["scores"].shape[1] == 5000


class TestNothingWaits:
    """FakeTensorMode has CUDA tensors without a GPU, and any reading of a value raises there."""

    @pytest.mark.parametrize("due", [True, False])
    @pytest.mark.parametrize("labels", [8, 2**17])
    @pytest.mark.parametrize("kind", ["ids", "probabilities"])
    def test_for_what_is_sent(self, due, labels, kind):
        with FakeTensorMode():
            input = torch.randn(labels, 3, device="cuda")
            target = torch.zeros(labels, dtype=torch.int64, device="cuda") if kind == "ids" else input.softmax(1)
            sent = deferred.parts(input, target, torch.ones(3, device="cuda"), -100, due=due)
        assert all(part.device.type == "cuda" for part in sent.values())
        assert bool(sent) == (due or (kind == "ids" and labels == 8))

    def test_fake_tensors_show_a_reading(self):
        from torch._subclasses.fake_tensor import DataDependentOutputException

        with FakeTensorMode(), pytest.raises(DataDependentOutputException):
            bool(torch.randn(3, device="cuda").sum() > 0)

    @pytest.mark.parametrize("mode", ["default", "warn", "off"])
    def test_for_a_call(self, mode):
        criterion = SafeCrossEntropyLoss(mode=mode)
        with FakeTensorMode():
            for _ in range(15):
                criterion(torch.randn(4, 3, device="cuda"), torch.zeros(4, dtype=torch.int64, device="cuda"))


def test_strict_mode_reads_at_once(queue):
    with pytest.raises(SafeCrossEntropyError):
        SafeCrossEntropyLoss(mode="strict")(sound().softmax(1), TARGET)


def test_a_device_without_a_queue_is_read_in_strict_mode_alone(monkeypatch):
    monkeypatch.setattr(deferred, "AT_ONCE", ())
    assert said(SafeCrossEntropyLoss(), sound().softmax(1)) == []
    assert said(SafeCrossEntropyLoss(mode="strict"), sound().softmax(1)).cause == "softmax-applied"


EXIT = """
import sys, torch
from safe_ce import SafeCrossEntropyLoss, deferred
from tests.standin import Queue
deferred.QUEUES["cpu"], deferred.AT_ONCE = Queue(), ()
input = torch.randn(4, 3)
SafeCrossEntropyLoss(mode=sys.argv[2])(input.softmax(1) if sys.argv[1] == "broken" else input, torch.tensor([0, 1, 2, 0]))
"""


@pytest.mark.parametrize(
    "kind, mode, said", [("broken", "default", True), ("broken", "warn", True), ("sound", "default", False)]
)
def test_the_interpreter_s_exit_reports_what_was_not_said(kind, mode, said):
    root = Path(__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, "-c", EXIT, kind, mode],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("SCE101" in ran.stderr) == said
    assert ("safe_ce, as the interpreter exits:" in ran.stderr) == (said and mode == "default")
