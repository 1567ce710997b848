"""The constructor names mistakes at once that native keeps for the call, or never mentions."""

from __future__ import annotations

import pytest
import torch

from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss, SafeCrossEntropyWarning

OUTPUT, TARGET = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])

BROKEN = {
    "loss-class-called-as-function": {"weight": OUTPUT, "size_average": TARGET},
    "weight-not-tensor": {"weight": [1.0, 2.0, 3.0]},
    "invalid-option": {"reduction": "average"},
}


@pytest.mark.parametrize("mode", ["strict", "default"])
@pytest.mark.parametrize(("cause", "options"), BROKEN.items())
def test_a_mistake_is_raised_at_once(mode, cause, options):
    with pytest.raises(SafeCrossEntropyError) as caught:
        SafeCrossEntropyLoss(mode=mode, **options)
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    "options",
    [
        {"reduction": None},
        {"label_smoothing": 1.5},
        {"label_smoothing": -0.1},
        {"label_smoothing": float("nan")},
        {"label_smoothing": "x"},
        {"label_smoothing": None},
        {"ignore_index": None},
        {"ignore_index": 1.5},
        {"ignore_index": 2**63},
    ],
    ids=str,
)
def test_options_are_checked(options):
    with pytest.raises(SafeCrossEntropyError) as caught:
        SafeCrossEntropyLoss(**options)
    assert caught.value.cause == "invalid-option"


def test_a_list_as_weight_keeps_native_s_class_and_text():
    with pytest.raises(TypeError, match="cannot assign 'list' object to buffer 'weight'"):
        SafeCrossEntropyLoss(weight=[1.0, 2.0])


def test_an_option_that_native_refuses_at_the_call_keeps_native_s_text():
    with pytest.raises(RuntimeError, match=r"label_smoothing must be between 0\.0 and 1\.0"):
        SafeCrossEntropyLoss(label_smoothing=1.5)
    with pytest.raises(ValueError, match="average is not a valid value for reduction"):
        SafeCrossEntropyLoss(reduction="average")


@pytest.mark.parametrize(
    "weight",
    [[1.0, float("nan")], [1.0, float("inf")], [1.0, -1.0], [0.0, 0.0]],
    ids=str,
)
def test_weights_that_cannot_be_meant(weight):
    with pytest.raises(SafeCrossEntropyError) as caught:
        SafeCrossEntropyLoss(weight=torch.tensor(weight), mode="strict")
    assert caught.value.cause == "weight-invalid"
    with pytest.warns(SafeCrossEntropyWarning, match="SCE406"):
        SafeCrossEntropyLoss(weight=torch.tensor(weight))


@pytest.mark.parametrize(
    "options",
    [{"label_smoothing": 1.5}, {"reduction": "average"}, {"ignore_index": None}, {"weight": -torch.ones(3)}],
    ids=str,
)
def test_warn_mode_only_warns(options):
    with pytest.warns(SafeCrossEntropyWarning):
        SafeCrossEntropyLoss(mode="warn", **options)


def test_warn_mode_leaves_native_s_own_exception():
    with pytest.raises(TypeError) as caught:
        SafeCrossEntropyLoss(mode="warn", weight=[1.0])
    assert type(caught.value) is TypeError
    assert "[SCE405]" in caught.value.__notes__[0]


def test_a_callback_must_be_callable():
    with pytest.raises(TypeError, match="on_finding must be callable, not int"):
        SafeCrossEntropyLoss(on_finding=3)


def test_a_traceback_is_the_report_alone():
    import traceback

    with pytest.raises(SafeCrossEntropyError) as caught:
        SafeCrossEntropyLoss(weight=[1.0])
    text = "".join(traceback.format_exception(caught.value))
    assert "During handling" not in text
    assert "verdict.py" not in text


def test_off_is_native():
    SafeCrossEntropyLoss(mode="off", label_smoothing=1.5, reduction="average")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": torch.tensor([0.0, 1.0, 2.0])},
        {"weight": torch.nn.Parameter(torch.ones(3))},
        {"weight": torch.empty(3, device="meta")},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0},
        {"label_smoothing": False},
        {"ignore_index": 255},
        {"reduction": "none"},
        {"size_average": True},
        {"reduce": False, "reduction": "whatever"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:size_average and reduce")
def test_sound_arguments_are_left_alone(options):
    SafeCrossEntropyLoss(mode="strict", **options)


def test_full_label_smoothing_is_a_warning():
    with pytest.warns(SafeCrossEntropyWarning, match="SCE407"):
        SafeCrossEntropyLoss(label_smoothing=1.0)


def test_the_elements_of_one_pair_are_enough():
    """A target of one element passes native's constructor, and is a mistake all the same."""
    with pytest.raises(SafeCrossEntropyError) as caught:
        SafeCrossEntropyLoss(OUTPUT[:1], TARGET[:1])
    assert caught.value.cause == "loss-class-called-as-function"
