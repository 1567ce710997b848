"""The contract against its judge: generated calls, on which native itself is asked."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from torch import nn

import safe_ce
from safe_ce import SafeCrossEntropyError, Severity
from safe_ce.call import Call, labels_in_range
from safe_ce.contract import broken_clause, is_broken
from tests.strategies import Generated, calls

TORCH = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
VARIANTS = 5
EXACT_SINCE = (2, 12)
"""The release since which native accepts exactly what `broken_clause` says; older ones differ in corners."""


def outcome(loss, input, target):
    """The loss and the input's gradient, or the exception that the call raises."""
    try:
        value = loss(input, target)
    except Exception as error:
        return error, None
    gradient = None
    if value.requires_grad:
        try:
            value.sum().backward()
            gradient = input.grad
        except RuntimeError as error:  # (C,) against (1,) runs forward only
            gradient = error
    return value.detach(), gradient


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(nan=7.0), other.nan_to_num(nan=7.0)) and one.dtype is other.dtype
    return type(one) is type(other)


def check(call: Generated):
    """Every law that a generated call must keep."""
    input, target, options = call.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        native, native_gradient = outcome(nn.CrossEntropyLoss(**options), input, target)
    accepted = isinstance(native, torch.Tensor)

    assert not (is_broken(input, target, options["ignore_index"]) and accepted), "a false rejection by the contract"
    if TORCH >= EXACT_SINCE:
        record = Call(input, target, **options)
        fits = broken_clause(record) is None and labels_in_range(record)
        assert fits == accepted, "the exact predicate disagrees with native"

    input, target, options = call.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warned, gradient = outcome(safe_ce.SafeCrossEntropyLoss(mode="warn", **options), input, target)
    if accepted:
        assert same(warned, native), "warn mode changed the loss"
        assert same(gradient, native_gradient), "warn mode changed the gradient"
    else:
        assert type(warned) is type(native), "warn mode changed the exception"
        assert str(warned) == str(native), "warn mode changed the message"
        assert warned.__notes__, "native's exception carries no diagnosis"

    input, target, options = call.build()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = safe_ce.SafeCrossEntropyLoss(mode="default", **options)(input, target)
    except SafeCrossEntropyError as error:
        if accepted:
            assert error.findings[0].severity is Severity.ERROR, "a sound call was rejected"
        else:
            assert isinstance(error, type(native)) or isinstance(native, UnicodeDecodeError)
            assert str(native).splitlines()[0][:60] in str(error) or error.findings[0].cause == "invalid-option"
    else:
        assert accepted, "default mode let through what native rejects"
        assert same(loss.detach(), native)


def test_generated_calls_keep_the_contract(request):
    count = request.config.getoption("calls")

    @settings(max_examples=count // VARIANTS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(calls())
    def generated(call):
        for variant in call.variants():
            check(variant)

    generated()


@pytest.mark.parametrize(
    ("shape", "target_shape", "dtype"),
    [
        ((4, 3), (5,), torch.int64),
        ((4, 3), (4, 1), torch.int64),
        ((4, 3), (4, 3), torch.int64),
        ((4, 3), (4,), torch.float32),
        ((4, 3, 5), (4, 6), torch.int64),
        ((2, 3, 4, 4), (2, 4, 5), torch.int64),
        ((3,), (2,), torch.int64),
        ((), (), torch.float32),
    ],
)
def test_broken_on_every_backend_and_release(shape, target_shape, dtype):
    input, target = torch.randn(shape), torch.zeros(target_shape, dtype=dtype)
    assert is_broken(input, target, -100)
    assert broken_clause(Call(input, target)) is not None
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        F.cross_entropy(input, target)


@pytest.mark.parametrize(
    ("shape", "target_shape", "dtype"),
    [
        ((4, 3), (4,), torch.int64),
        ((4, 3), (4,), torch.uint8),
        ((4, 3), (4, 3), torch.float16),
        ((3,), (), torch.int64),
        ((0, 3), (0,), torch.int64),
        ((2, 3, 4, 4), (2, 4, 4), torch.int64),
        ((2, 3, 0), (2, 0), torch.int64),
    ],
)
def test_left_to_native(shape, target_shape, dtype):
    input, target = torch.randn(shape), torch.zeros(target_shape, dtype=dtype)
    assert not is_broken(input, target, -100)
    assert broken_clause(Call(input, target)) is None
    F.cross_entropy(input, target)


@pytest.mark.parametrize(
    "options",
    [
        {"reduction": "average"},
        {"reduction": None},
        {"ignore_index": 1.5},
        {"ignore_index": None},
        {"ignore_index": True},
        {"ignore_index": 2**63},
        {"label_smoothing": 1.5},
        {"label_smoothing": None},
        {"label_smoothing": "0.1"},
    ],
)
def test_options_that_native_refuses(options):
    input, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert broken_clause(Call(input, target, **options)) is not None
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        nn.CrossEntropyLoss(**options)(input, target)


def test_autocast_brings_weight_and_logits_together():
    input, target = torch.randn(4, 3).bfloat16(), torch.tensor([0, 1, 2, 0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert broken_clause(Call(input, target, torch.ones(3))) is None
        F.cross_entropy(input, target, torch.ones(3))
    assert broken_clause(Call(input, target, torch.ones(3))) is not None
