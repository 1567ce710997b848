"""Where each dimension came from, of any chain of operations that only move values about.

Values that vary along one dimension of the source alone vary along the dimension that came from it, and along no other.
"""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import safe_ce
from safe_ce import recording
from safe_ce.lineage import origin, way_of


def operation_of(tensor):
    return recording.active().operation_of(tensor)


def place_in(draw, shape, extra=0):
    """A dimension, counted from either end."""
    ndim = len(shape) + extra
    return draw(st.integers(-ndim, ndim - 1))


def some_permuted(draw, shape):
    order = [dim - draw(st.sampled_from((0, len(shape)))) for dim in draw(st.permutations(range(len(shape))))]
    return lambda tensor: tensor.permute(order)


def two_exchanged(draw, shape):
    first, second = place_in(draw, shape), place_in(draw, shape)
    return lambda tensor: tensor.transpose(first, second)


def some_moved(draw, shape):
    count = draw(st.integers(1, len(shape)))
    here, there = (draw(st.permutations(range(len(shape))))[:count] for _ in range(2))
    return lambda tensor: tensor.movedim(here, there)


def one_more(draw, shape):
    dim = place_in(draw, shape, 1)
    return lambda tensor: tensor.unsqueeze(dim)


def one_selected(draw, shape):
    dim = place_in(draw, shape)
    index = draw(st.integers(0, shape[dim] - 1))
    return lambda tensor: tensor.select(dim, index)


def one_unbound(draw, shape):
    dim = place_in(draw, shape)
    return lambda tensor: tensor.unbind(dim)[-1]


def some_stacked(draw, shape):
    dim, count = place_in(draw, shape, 1), draw(st.integers(1, 3))
    return lambda tensor: torch.stack([tensor] * count, dim)


CERTAIN = {
    some_permuted: 0,
    two_exchanged: 0,
    some_moved: 0,
    one_more: 1,
    one_selected: 0,
    one_unbound: 0,
    some_stacked: 1,
}
"""Moves after which it is said of each dimension where it came from, but of so many new ones."""


def some_joined(draw, shape):
    dim, count = place_in(draw, shape), draw(st.integers(1, 2))
    return lambda tensor: torch.cat([tensor] * count, dim)


def some_squeezed(draw, shape):
    dims = draw(st.none() | st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1).map(tuple))
    return lambda tensor: tensor.squeeze() if dims is None else tensor.squeeze(dims)


def cut_anew(draw, shape):
    left = math.prod(shape)
    sizes = []
    while left > 1 or draw(st.integers(0, 2)) == 0:
        sizes.append(draw(st.sampled_from([size for size in range(1, left + 1) if left % size == 0])))
        left //= sizes[-1]
    return lambda tensor: tensor.reshape(sizes)


def some_flattened(draw, shape):
    first = draw(st.integers(0, len(shape) - 1))
    last = draw(st.integers(first, len(shape) - 1))
    return lambda tensor: tensor.flatten(first, last)


def a_part(draw, shape):
    dim, size = place_in(draw, shape), draw(st.integers(1, 4))
    kind = draw(st.sampled_from((torch.split, torch.chunk)))
    return lambda tensor: kind(tensor, size, dim)[0]


def indexed(draw, shape):
    """By numbers, slices, masks, lists and tensors, of which those that gather go together in one index."""
    wide = draw(st.sampled_from(((2,), (3,), (1, 2), (2, 2))))
    items = []
    for size in shape[: draw(st.integers(1, len(shape)))]:
        numbers = st.integers(-size, size - 1)
        several = [st.lists(numbers, min_size=count, max_size=count) for count in (wide[-1], math.prod(wide))]
        masks = [torch.arange(size) < wide[-1]] if size >= wide[-1] else []
        items += [None] * draw(st.sampled_from((0, 0, 0, 1)))
        items.append(
            draw(
                st.sampled_from((slice(None), slice(None), slice(0, 2), slice(None, None, 2), *masks))
                | numbers
                | numbers.map(torch.tensor)
                | several[0]
                | several[1].map(lambda found: torch.tensor(found).view(wide))
            )
        )
    items += draw(st.sampled_from(([], [...], [None], [..., None])))
    return lambda tensor: tensor[tuple(items)]


def some_picked(draw, shape):
    dim = place_in(draw, shape)
    index = torch.tensor(draw(st.lists(st.integers(0, shape[dim] - 1), min_size=1, max_size=4)))
    return lambda tensor: tensor.index_select(dim, index)


def some_repeated(draw, shape):
    counts = draw(st.lists(st.integers(1, 2), min_size=len(shape), max_size=len(shape) + 1))
    return lambda tensor: tensor.repeat(*counts)


def each_repeated(draw, shape):
    dim = place_in(draw, shape)
    counts = [1, *draw(st.lists(st.integers(0, 2), min_size=shape[dim] - 1, max_size=shape[dim] - 1))]
    return lambda tensor: tensor.repeat_interleave(torch.tensor(counts), dim)


def expanded(draw, shape):
    sizes = [size if size > 1 else draw(st.integers(1, 3)) for size in shape]
    more = draw(st.lists(st.integers(1, 3), max_size=1))
    return lambda tensor: tensor.expand(*more, *sizes)


def done_along(draw, shape):
    dim = place_in(draw, shape)
    return draw(
        st.sampled_from(
            (
                lambda tensor: tensor.flip(dim),
                lambda tensor: tensor.roll(1, dim),
                lambda tensor: tensor.sort(dim)[0],
                lambda tensor: tensor.topk(1, dim)[0],
                lambda tensor: tensor.amax(dim, keepdim=True),
                lambda tensor: tensor.amax(dim),
                lambda tensor: tensor.clone(),
                lambda tensor: tensor.clone().unsqueeze_(dim),
                lambda tensor: tensor.clone().squeeze_(dim),
                lambda tensor: tensor.swapaxes(0, dim),
                lambda tensor: tensor + tensor.new_zeros(tensor.shape[1:]),
            )
        )
    )


def relabelled(draw, shape):
    labels = list(range(len(shape)))
    kept = draw(st.permutations(labels))[: draw(st.integers(1, len(shape)))]
    return lambda tensor: torch.einsum(tensor, labels, kept)


MOVES = [
    *CERTAIN,
    some_joined,
    some_squeezed,
    cut_anew,
    some_flattened,
    a_part,
    indexed,
    indexed,
    some_picked,
    some_repeated,
    each_repeated,
    expanded,
    done_along,
    relabelled,
]


@st.composite
def chains(draw):
    """A shape, and some moves one after the other, each with the number of new dimensions or None if it may say less."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    tensor = torch.zeros(shape)
    moves = []
    for kind in draw(st.lists(st.sampled_from(MOVES), min_size=1, max_size=5)):
        if not tensor.dim() or tensor.dim() > 7 or tensor.numel() > 5000:
            break
        move = kind(draw, tuple(tensor.shape))
        tensor = move(tensor)
        moves.append((move, CERTAIN.get(kind)))
    return shape, moves


def varying(shape, dim):
    """A tensor whose values vary along one dimension alone."""
    return torch.arange(shape[dim]).view(-1, *[1] * (len(shape) - dim - 1)).expand(shape).float()


def varies_along(tensor):
    return [dim for dim in range(tensor.dim()) if not torch.equal(tensor, tensor.narrow(dim, 0, 1).expand_as(tensor))]


@settings(max_examples=400, deadline=None)
@given(chains())
def test_values_that_vary_along_a_dimension_vary_along_the_one_that_came_from_it_and_no_other(chain):
    shape, moves = chain
    with safe_ce.trail():
        tensor = torch.zeros(shape)
        source = operation_of(tensor)
        for move, new in moves:
            tensor = move(tensor)
            made = operation_of(tensor)
            silent = [dim for dim in range(tensor.dim()) if origin(made, dim) is None]
            assert new is None or len(silent) == new
        firsts = [way_of(made, dim)[0] for dim in range(tensor.dim())]
    for dim, first in enumerate(firsts):
        if first.made is source and tensor.shape[dim] > 1:
            values = varying(shape, first.dim)
            for move, _ in moves:
                values = move(values)
            assert varies_along(values) == [dim]
