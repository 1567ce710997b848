"""When values are looked at: often at first, then ever more rarely, and never for ever."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss
from safe_ce.schedule import LEAST, Schedule, checked, following, is_scheduled


def looks(schedule, signatures, probe="scheduled"):
    """The numbers of the calls that are looked at, of calls of these kinds; a shape comes with a kind."""
    known, found = set(), []
    for number, (kind, shape) in enumerate(signatures, start=1):
        if (kind, shape) not in known:
            schedule.meet(kind)
            known.add((kind, shape))
        if schedule.count(probe):
            found.append(number)
    return found


def test_the_first_calls_and_then_ever_fewer():
    found = looks(Schedule(), [("k", 1)] * 20 * LEAST)
    assert found[:20] == [*range(1, 11), 13, 16, 21, 26, 33, 42, 53, 66, 83, 104]
    assert {after - before for before, after in itertools.pairwise(found[-10:])} == {LEAST}


@pytest.mark.parametrize("calls_in_a_step", range(2, 17))
def test_no_call_of_a_step_escapes(calls_in_a_step):
    found = looks(Schedule(), [("k", 1)] * 20 * LEAST)
    for part in (found, found[len(found) // 2 :]):
        assert {number % calls_in_a_step for number in part} == set(range(calls_in_a_step))


@given(st.integers(1, 10**7))
def test_the_following_look_is_the_next_that_is_scheduled(number):
    after = following(number)
    assert is_scheduled(after)
    assert number < after <= number + LEAST
    assert not any(is_scheduled(between) for between in range(number + 1, after))


def test_a_new_kind_of_call_begins_anew():
    calls = [("train", 1)] * 57 + [("eval", 1)] * 12
    assert looks(Schedule(), calls)[-10:] == list(range(58, 68))


def test_a_new_shape_begins_anew():
    calls = [("train", 1)] * 57 + [("train", 2)] * 12
    assert looks(Schedule(), calls)[-10:] == list(range(58, 68))


@pytest.mark.parametrize("calls, at_most", [(100, 100), (1_000, 400), (10_000, 1_000), (100_000, 4_000)])
def test_shapes_that_are_new_at_every_call_are_looked_at_ever_more_rarely(calls, at_most):
    found = looks(Schedule(), [("language model", length) for length in range(calls)])
    assert len(found) <= at_most
    assert max(b - a for a, b in itertools.pairwise(found)) <= LEAST


def test_a_new_kind_is_looked_at_after_any_number_of_shapes():
    calls = [("train", length) for length in range(1, 5_004)] + [("eval", 1)]
    assert looks(Schedule(), calls)[-1] == len(calls)


def test_every_and_never():
    calls = [("k", 1)] * 2 * LEAST
    assert looks(Schedule(), calls, "every") == list(range(1, 2 * LEAST + 1))
    assert looks(Schedule(), calls, "never") == []


def test_between_two_looks_a_call_need_only_be_counted():
    schedule = Schedule()
    looks(schedule, [("k", 1)] * 42)
    assert (schedule.calls, schedule.due) == (42, 53)


@pytest.mark.parametrize("build", [checked, lambda probe: SafeCrossEntropyLoss(probe=probe)])
def test_a_bad_probe_is_an_error_that_lists_the_valid_ones(build):
    with pytest.raises(ValueError, match="'every', 'scheduled', 'never', or None for what the mode says; got 'often'"):
        build("often")


class TestALossSays:
    """By the argument `probe`, on which calls values are looked at."""

    target = torch.tensor([0, 1, 2, 0])

    def after_some_calls(self, **options):
        criterion = SafeCrossEntropyLoss(**options)
        for _ in range(16):  # and the next is not scheduled
            criterion(torch.randn(4, 3), self.target)
        return criterion(torch.randn(4, 3).softmax(1), self.target)

    def test_every(self):
        with pytest.raises(SafeCrossEntropyError):
            self.after_some_calls(probe="every")

    @pytest.mark.parametrize("mode", ["strict", "default", "warn"])
    def test_scheduled(self, mode):
        self.after_some_calls(probe="scheduled", mode=mode)

    def test_none_is_every_in_strict_mode_and_scheduled_elsewhere(self):
        self.after_some_calls()
        with pytest.raises(SafeCrossEntropyError):
            self.after_some_calls(mode="strict")

    @pytest.mark.parametrize("mode", ["strict", "default", "warn"])
    def test_never(self, mode):
        criterion = SafeCrossEntropyLoss(probe="never", mode=mode)
        criterion(torch.randn(4, 3).softmax(1), self.target)
        assert criterion(torch.randn(4, 3), torch.full((4,), -100)).isnan()
        with pytest.raises(IndexError):  # what native refuses, and what the graph shows, is said all the same
            criterion(torch.randn(4, 3), self.target + 1)
        assert criterion._memory.schedule.calls == 3

    def test_the_function_too(self):
        safe_ce.cross_entropy(torch.randn(4, 3).softmax(1), self.target, probe="never")
        with pytest.raises(SafeCrossEntropyError):
            safe_ce.cross_entropy(torch.randn(4, 3).softmax(1), self.target, probe="every")
