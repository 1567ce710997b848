"""Reading values: in pieces, bounded, seen by nobody."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safe_ce import probe
from safe_ce.call import Labels

layouts = st.sampled_from(
    [
        lambda t: t,
        lambda t: t.transpose(0, -1),
        lambda t: t[::2],
        lambda t: t[:1].expand_as(t),
        lambda t: t.flip(0),
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), layouts, st.integers(1, 40), st.integers(0, 999))
def test_pieces_hold_every_value_and_are_small(shape, layout, size, seed):
    tensor = layout(torch.randint(-50, 50, shape, generator=torch.Generator().manual_seed(seed)))
    kept, probe.PIECE = probe.PIECE, size
    try:
        pieces = list(probe.pieces(tensor))
    finally:
        probe.PIECE = kept
    assert {int(value) for piece in pieces for value in piece.flatten()} == set(tensor.flatten().tolist())
    assert all(piece.numel() <= max(size, shape[-1], shape[0]) for piece in pieces)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=2, max_size=4), st.integers(0, 3), st.integers(4, 200))
def test_a_sample_keeps_a_dimension_whole_and_two_rows_at_least(shape, dim, limit):
    dim %= len(shape)
    tensor = torch.randn(shape)
    part = probe.thinned(tensor, dim, limit)
    assert part.shape[dim] == shape[dim]
    assert part.numel() // part.shape[dim] >= 2
    assert part.numel() <= max(limit, 3 * shape[dim] * len(shape)) or part.numel() <= 2 * limit


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=40),
    st.integers(1, 300),
    st.sampled_from([-100, -1, 0, 255]),
    st.sampled_from([torch.int64, torch.int32, torch.float32, torch.int16, torch.uint16]),
)
def test_labels_are_counted_as_native_counts_them(values, classes, ignored, dtype):
    labels = Labels(torch.tensor(values).to(dtype), ignored)
    wrong = [value for value in values if value >= classes and value != ignored]
    assert labels.fit(classes) == (not wrong)
    bad = labels.bad(classes)
    assert bad.count == len(wrong)
    assert set(bad.values) == set(wrong)
    assert [value for _, value in bad.places] == wrong[:3]
    assert all(values[place[0]] == value for place, value in bad.places)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.uint8, torch.uint64, torch.bool]
)
def test_extremes_of_every_dtype(dtype):
    assert probe.extremes(torch.tensor([0.0, 1.0, 1.0]).to(dtype)) == (0, 1)


def test_extremes_tell_nan():
    assert math.isnan(probe.extremes(torch.tensor([0.0, float("nan")]))[0])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.empty(3, device="meta"),
        torch.eye(3).to_sparse(),
        torch.quantization.QuantStub,
        None,
    ],
)
def test_what_cannot_be_read_is_not(tensor):
    assert not probe.is_readable(tensor)


def test_wrapped_tensors_are_not_read():
    seen = []
    torch.func.vmap(lambda row: seen.append(probe.is_readable(row)) or row)(torch.randn(3, 2))
    assert seen == [False]


def test_subclasses_that_dispatch_to_python_are_not_taken_for_plain_ones():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.empty(3)
    assert probe.as_plain(fake) is None
    assert not probe.is_readable(fake)
    assert probe.as_plain("text") is None
    assert type(probe.as_plain(torch.nn.Parameter(torch.ones(2)))) is torch.nn.Parameter
