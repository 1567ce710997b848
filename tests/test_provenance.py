"""Reading an autograd graph: what made a tensor, and which view made its rows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from safe_ce.provenance import (
    activation,
    concatenated,
    embedded,
    folding,
    is_convolution_output,
    is_linear_output,
    rows_came_in,
    viewed_from,
)


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        (lambda: leaf(4, 3).softmax(1), "softmax"),
        (lambda: leaf(4, 3).log_softmax(1), "log_softmax"),
        (lambda: leaf(4, 3).sigmoid(), "sigmoid"),
        (lambda: leaf(4, 3).relu(), "relu"),
        (lambda: leaf(4, 3).softmax(1).log(), "log_softmax"),
        (lambda: leaf(4, 3).softmax(1).clamp(1e-6, 1).log(), "log_softmax"),
        (lambda: leaf(2, 6, 3).softmax(2).permute(0, 2, 1).contiguous().half(), "softmax"),
        (lambda: leaf(4, 6).softmax(1)[:, 1:4], "softmax"),
        (lambda: torch.stack([leaf(3).sigmoid(), leaf(3).sigmoid()]), "sigmoid"),
    ],
)
def test_an_activation_is_seen_behind_views_casts_clamps_and_selections(tensor, name):
    assert activation(tensor()).name == name


def test_the_ids_that_entered_a_model():
    words, other = nn.Embedding(9, 4), nn.Embedding(5, 4)
    ids = torch.zeros(3, 7, dtype=torch.int64)
    states, last = nn.GRU(4, 6)(words(ids) + other(ids))
    assert embedded(states[-1]) == embedded(last[-1]) == (3, 7)
    assert embedded(words(ids).mean(1) + other(ids[:, 0])) is None  # of two shapes
    assert embedded(nn.Linear(4, 2)(leaf(3, 4))) is None
    assert rows_came_in(nn.Linear(4, 2)(words(ids).mean(1)))
    assert not rows_came_in(nn.Linear(4, 2)(words(ids).view(21, 4)))
    assert not rows_came_in(nn.Linear(4, 2)(words(ids.view(-1))))


class TwoHeads(nn.Module):
    def forward(self, input):
        return input.relu(), input.log_softmax(1)


def test_an_activation_is_seen_behind_a_full_backward_hook_each_output_s_own():
    model = TwoHeads()
    model.register_full_backward_hook(lambda *_: None)
    rectified, normalized = model(leaf(4, 3))
    assert rectified.grad_fn.name() == "BackwardHookFunctionBackward"
    assert activation(rectified).name == "relu"
    assert activation(normalized).name == "log_softmax"
    assert activation(normalized).dim == 1


@pytest.mark.parametrize(
    "tensor",
    [
        lambda: leaf(4, 3),
        lambda: torch.randn(4, 3).softmax(1),
        lambda: leaf(4, 3).softmax(1) * 2,
        lambda: leaf(4, 3).softmax(1) + leaf(4, 3),
        lambda: leaf(4, 3).softmax(1) @ leaf(3, 3),
        lambda: leaf(4, 3).sigmoid().log(),
        lambda: leaf(4, 3).relu().mean(0, keepdim=True),
        lambda: torch.cat([leaf(4, 3).softmax(1), leaf(4, 1)], 1),
        lambda: leaf(2, 4, 3).softmax(2).mean(0).log(),
    ],
)
def test_what_makes_something_new_ends_the_search(tensor):
    assert activation(tensor()) is None


def test_the_dimension_of_a_softmax():
    assert activation(leaf(4, 3).softmax(0)).dim == 0
    assert activation(leaf(4, 3).softmax(-1).double()).dim == 1
    assert activation(leaf(4, 3).softmax(0).T).dim is None


def test_a_graph_that_was_freed_can_still_be_read():
    input = leaf(4, 3).softmax(1)
    input.sum().backward()
    assert activation(input).name == "softmax"


def test_a_very_deep_graph_is_not_followed_for_ever():
    tensor = leaf(4, 3)
    for _ in range(1000):
        tensor = tensor.view(4, 3)
    assert activation(tensor) is None


def test_linear_and_convolution_outputs():
    assert is_linear_output(nn.Linear(5, 3)(torch.randn(2, 7, 5)))
    assert is_linear_output(nn.Linear(5, 3, bias=False)(torch.randn(2, 7, 5)))
    assert is_linear_output(nn.Linear(5, 3)(torch.randn(2, 5)))
    assert not is_linear_output(nn.Linear(5, 3)(torch.randn(2, 7, 5)).transpose(1, 2))
    assert is_convolution_output(nn.Conv2d(3, 5, 1)(torch.randn(2, 3, 4, 4)))
    assert is_convolution_output(F.interpolate(nn.Conv2d(3, 5, 1)(torch.randn(2, 3, 4, 4)), size=8, mode="bilinear"))
    assert not is_convolution_output(leaf(2, 5, 4, 4))


def test_the_shape_before_a_view():
    assert viewed_from(leaf(2, 7, 5).view(14, 5)) == (2, 7, 5)
    assert viewed_from(leaf(2, 5, 7).transpose(1, 2).reshape(14, 5)) == (2, 7, 5)
    assert viewed_from(leaf(14, 5)) is None


def test_the_view_that_folded_features():
    maps = nn.Conv2d(3, 16, 5)(torch.randn(4, 3, 14, 14))
    fold = folding(nn.Linear(400, 10)(F.relu(maps).view(-1, 400)), 4)
    assert (fold.before, fold.features) == ((4, 16, 10, 10), 400)
    assert folding(nn.Linear(1600, 10)(maps.flatten(1)), 3) is None


def test_rows_that_came_in_and_rows_that_were_joined():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    assert rows_came_in(network(torch.randn(6, 3, 8, 8)))
    assert not rows_came_in(nn.Linear(4, 5)(nn.Conv2d(3, 4, 3)(torch.randn(6, 3, 8, 8)).view(-1, 4)))
    assert concatenated(nn.Linear(4, 5)(torch.cat([leaf(3, 4), leaf(3, 4)]))) == 2
    assert concatenated(leaf(3, 4)) == 0
