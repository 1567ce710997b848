"""Where each dimension of a tensor came from: what the trail says of it, and what its values show.

Reversing a source along a dimension reverses a result along the one that came from it, and along no other. Nearly all
sizes here are equal, so that no size tells dimensions apart.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import safe_ce
from safe_ce import recording
from safe_ce.lineage import RULES, STEPS, Origin, main_source, origin, way_of
from safe_ce.operations import PARAMETER

SHAPES = {
    "v": (3,),
    "m": (3, 3),
    "n": (3, 3),
    "x": (3, 3, 3),
    "y": (3, 3, 3),
    "maps": (3, 3, 3, 3),
    "volumes": (3, 3, 3, 3, 3),
    "row": (1, 3),
    "thin": (3, 1, 3),
    "thinner": (1, 3, 3, 1),
    "two": (2, 3, 3),
    "wide": (3, 9),
    "none": (0,),
    "ids": (3, 3),
    "labels": (3,),
}
"""Of the sources that examples speak of."""


def source(name):
    """A tensor whose values are all different."""
    shape = SHAPES[name]
    values = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(len(shape))).view(shape)
    return values if name in ("ids", "labels") else values.double() / 7 + 2


def module(kind, *arguments, **options):
    torch.manual_seed(0)
    return kind(*arguments, **options, dtype=torch.float64)


def forgetful(kind, **options):
    """A recurrent layer that keeps nothing of earlier steps: only so its outputs are reversed with its input."""
    layer = module(kind, 3, 3, **options)
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            nn.init.zeros_(parameter)
        if name.startswith("bias_ih") and kind is not nn.RNN:
            parameter.data[3:6] = -100  # of both kinds the second gate is the one that keeps a state
    return layer


def kernel(*shape):
    return torch.ones(shape, dtype=torch.float64)


WEIGHT = torch.linspace(-1, 1, 9, dtype=torch.float64).view(3, 3)
GIVEN = {
    "torch": torch,
    "F": F,
    "nn": nn,
    "np": np,
    "kernel": kernel,
    "INDEX": torch.tensor([2, 0, 0]),
    "TABLE": torch.tensor([[2, 0, 1], [0, 0, 2], [1, 2, 0]]),
    "MASK": torch.tensor([True, False, True]),
    "WEIGHT": WEIGHT,
    "VECTORS": torch.linspace(-1, 1, 27, dtype=torch.float64).view(9, 3),
    "KEYS": WEIGHT.expand(3, 3, 3),
    "PARAMETER": nn.Parameter(WEIGHT),
    "linear": module(nn.Linear, 3, 3),
    "bilinear": module(nn.Bilinear, 3, 3, 3),
    "words": module(nn.Embedding, 9, 3),
    "attention": module(nn.MultiheadAttention, 3, 1),
    "attention_of_batches": module(nn.MultiheadAttention, 3, 1, batch_first=True),
    "attention_in_evaluation": module(nn.MultiheadAttention, 3, 1).eval(),
    "gru": forgetful(nn.GRU),
    "gru_of_batches": forgetful(nn.GRU, batch_first=True),
    "lstm": forgetful(nn.LSTM, num_layers=2),
    "lstm_of_batches": forgetful(nn.LSTM, bidirectional=True, batch_first=True),
    "rnn": forgetful(nn.RNN),
    "rnn_of_batches": forgetful(nn.RNN, nonlinearity="relu", batch_first=True),
    "deep": forgetful(nn.GRU, num_layers=3),
    "deep_of_batches": forgetful(nn.GRU, num_layers=3, batch_first=True),
    "gru_cell": module(nn.GRUCell, 3, 3),
    "lstm_cell": module(nn.LSTMCell, 3, 3),
    "tanh_cell": module(nn.RNNCell, 3, 3),
    "relu_cell": module(nn.RNNCell, 3, 3, nonlinearity="relu"),
}
"""What examples may use besides their sources."""


def operation_of(tensor):
    return recording.active().operation_of(tensor)


class Example:
    """An expression, and the sources that it speaks of."""

    def __init__(self, expression):
        code = compile(expression, expression, "eval")
        self.call = lambda sources: eval(code, {**GIVEN, **sources})
        self.sources = {name: source(name) for name in SHAPES if name in code.co_names}

    def said(self):
        """By the dimension of the result: the source and its dimension that it came from, or None."""
        with safe_ce.trail():
            result = self.call(self.sources)
            firsts = [way_of(operation_of(result), dim)[0] for dim in range(result.dim())]
            names = {operation_of(tensor): name for name, tensor in self.sources.items()}
        return [f"{names[first.made]}{first.dim}" if first.made in names else None for first in firsts]

    def shown(self):
        """By the dimension of the result: the sources and their dimensions that it may have come from, or None."""
        found = [{None} if size == 1 else set() for size in self.call(self.sources).shape]
        for name, tensor in self.sources.items():
            constant = {other: torch.ones_like(tensor) for other, tensor in self.sources.items()}
            result = self.call({**constant, name: tensor})
            for dim, size in enumerate(tensor.shape):
                turned = self.call({**constant, name: tensor.flip(dim)})
                for place, pairs in enumerate(found):
                    is_turned = result.shape[place] == size and same(turned, result.flip(place))
                    if is_turned and (size == 1 or not same(turned, result)):
                        pairs.add(f"{name}{dim}")
        return [pairs or {None} for pairs in found]

    def wrong(self):
        """By the dimension of the result, where the two do not agree: what is said, and what is shown."""
        pairs = zip(self.said(), self.shown(), strict=True)
        return {dim: pair for dim, pair in enumerate(pairs) if pair[0] not in pair[1]}

    def only_omits(self):
        return all(said is None for said, _ in self.wrong().values())

    def names(self):
        """Of the operations that made the result."""
        with safe_ce.trail():
            left = [operation_of(self.call(self.sources))]
        names = set()
        while left:
            made = left.pop()
            names.add(made.name)
            left += made.sources
        return names


def same(one, other):
    return one.shape == other.shape and torch.allclose(one.double(), other.double())


EXAMPLES = []


def examples(*expressions):
    """Try a test on these."""
    new = [Example(expression) for expression in expressions]
    EXAMPLES.extend(new)
    return pytest.mark.parametrize("example", new, ids=expressions)


def saying(*pairs):
    """Try a test on these, and what is said of each."""
    new = [(Example(expression), said) for expression, said in pairs]
    EXAMPLES.extend(example for example, _ in new)
    return pytest.mark.parametrize(("example", "said"), new, ids=[expression for expression, _ in pairs])


class TestAnotherOrder:
    @examples(
        "x.permute(2, 0, 1)",
        "x.permute((2, 0, 1))",
        "x.permute([-1, 0, -2])",
        "x.permute(dims=(1, 2, 0))",
        "torch.permute(x, (1, 2, 0))",
        "torch.permute(input=x, dims=[1, 2, 0])",
        "maps.permute(0, 2, 3, 1)",
        "v.permute(0)",
        "x.permute(2, 0, 1).contiguous().permute(2, 0, 1)",
    )
    def test_permute(self, example):
        assert not example.wrong()

    @examples(
        "x.transpose(0, 2)",
        "x.transpose(-1, 0)",
        "x.transpose(dim0=0, dim1=1)",
        "torch.transpose(x, 0, dim1=-1)",
        "x.clone().transpose_(0, 1)",
        "x.clone().swapaxes_(0, 1)",
        "x.clone().swapdims_(dim0=0, dim1=2)",
        "x.swapaxes(0, 1)",
        "torch.swapaxes(x, axis0=0, axis1=-1)",
        "x.swapdims(0, 1)",
        "torch.swapdims(x, dim0=1, dim1=2)",
    )
    def test_two_exchanged(self, example):
        assert not example.wrong()

    @examples(
        "x.movedim(0, 2)",
        "x.movedim((0, 1), (2, 0))",
        "torch.movedim(x, source=-1, destination=0)",
        "torch.movedim(maps, (0, -1), (1, 0))",
        "x.moveaxis(2, 0)",
        "torch.moveaxis(x, (2, 1), (0, 2))",
    )
    def test_some_moved(self, example):
        assert not example.wrong()

    @examples(
        "m.T",
        "m.H",
        "m.t()",
        "torch.t(m)",
        "m.clone().t_()",
        "v.t()",
        "x.mT",
        "x.mH",
        "x.adjoint()",
        "torch.adjoint(x)",
    )
    def test_matrices_transposed(self, example):
        assert not example.wrong()


class TestViews:
    @examples(
        "x.view(27)",
        "x.view(9, 3)",
        "x.view(3, 9)",
        "x.view(-1, 3)",
        "x.view(1, 3, 1, 9)",
        "x.view(torch.int64)",
        "x.view(torch.float32)",
        "x.reshape(3, -1)",
        "x.reshape(shape=(9, 3))",
        "torch.reshape(x, (9, 3))",
        "x.flatten()",
        "x.flatten(1)",
        "x.flatten(start_dim=1)",
        "torch.flatten(x, 0, 1)",
        "maps.flatten(1, -2)",
        "x.ravel()",
        "row.ravel()",
        "wide.unflatten(1, (3, 3))",
        "torch.unflatten(wide, -1, (3, 3))",
        "wide.view_as(torch.zeros(3, 3, 3))",
        "wide.reshape_as(torch.zeros(3, 3, 3))",
        "wide.view(9, 3)",
        "maps.view(9, 9)",
        "x.transpose(0, 1).reshape(3, 9)",
    )
    def test_a_dimension_that_a_view_does_not_cut_or_merge(self, example):
        assert not example.wrong()

    @examples(
        "x.unsqueeze(0)",
        "x.unsqueeze(-1)",
        "x.unsqueeze(-2)",
        "x.unsqueeze(dim=1)",
        "torch.unsqueeze(x, 2)",
        "torch.unsqueeze(x, axis=1)",
        "x.clone().unsqueeze_(1)",
        "v.unsqueeze(1)",
    )
    def test_unsqueeze(self, example):
        assert not example.wrong()

    @examples(
        "thin.squeeze()",
        "thin.squeeze(1)",
        "thin.squeeze(-2)",
        "thin.squeeze(dim=1)",
        "torch.squeeze(thin, 1)",
        "torch.squeeze(thin, axis=1)",
        "x.squeeze()",
        "x.squeeze(0)",
        "thinner.squeeze()",
        "thinner.squeeze(0)",
        "thinner.squeeze(-1)",
        "thinner.squeeze((0, 3))",
        "thinner.squeeze(dim=(0, -1))",
        "thinner.squeeze((0, 1))",
        "thinner.clone().squeeze_()",
        "thinner.clone().squeeze_(3)",
    )
    def test_squeeze(self, example):
        assert not example.wrong()

    @pytest.mark.parametrize(
        ("shape", "call", "dims"),
        [
            ((1, 3), lambda tensor: tensor.unsqueeze(0), [None, 0, 1]),
            ((1, 3), lambda tensor: tensor.unsqueeze(1), [0, None, 1]),
            ((1, 1), lambda tensor: torch.stack([tensor], 1), [0, None, 1]),
            ((1, 1, 3), lambda tensor: tensor.squeeze(0), [1, 2]),
            ((1, 3, 1), lambda tensor: tensor.squeeze(0), [1, 2]),
            ((1, 1, 1), lambda tensor: tensor.squeeze((0, 2)), [1]),
            ((1, 1, 3), lambda tensor: tensor.permute(1, 2, 0), [1, 2, 0]),
            ((1, 1, 3), lambda tensor: tensor[:, 0], [0, 2]),
            ((1, 1, 3), lambda tensor: tensor.sum(0), [1, 2]),
        ],
    )
    def test_which_of_several_of_size_one_the_arguments_tell(self, shape, call, dims):
        with safe_ce.trail():
            made = operation_of(call(torch.zeros(shape)))
        found = [origin(made, dim) for dim in range(len(made.shape))]
        assert [one and one.dim for one in found] == dims


class TestJoining:
    @examples(
        "torch.stack([x, y])",
        "torch.stack((x, y), 1)",
        "torch.stack([x, y], dim=-1)",
        "torch.stack([m, n, m])",
        "torch.stack([m, n, m], 1)",
        "torch.stack([m, n, m], -1)",
        "torch.stack([m, n, m], axis=2)",
        "torch.stack(tensors=[m, n, m], dim=1)",
    )
    def test_stack(self, example):
        assert not example.wrong()

    @examples(
        "torch.cat([x, y])",
        "torch.cat([x, y], 1)",
        "torch.cat((x, y), dim=-1)",
        "torch.cat([x, y], axis=2)",
        "torch.concat([x, y], 1)",
        "torch.concatenate([x, y], axis=1)",
        "torch.hstack([m, n])",
        "torch.vstack([m, n])",
        "torch.dstack([x, y])",
        "torch.cat([m])",
        "torch.cat([none, m])",
        "torch.cat([x[:0], x])",
    )
    def test_cat_of_what_is_as_long_only_with_nothing(self, example):
        assert not example.wrong()


class TestReducing:
    @examples(
        "x.sum(0)",
        "x.sum(-1)",
        "x.sum(dim=1)",
        "x.sum(axis=1)",
        "x.sum((0, 2))",
        "x.sum(dim=[0, -1])",
        "x.sum(1, keepdim=True)",
        "torch.sum(x, 0)",
        "torch.sum(input=x, dim=1)",
        "torch.sum(x, dim=(1, 2), keepdim=True)",
        "x.mean(0)",
        "x.mean(dim=(1, 2))",
        "torch.mean(x, -2, True)",
        "x.mean((-1, -2)).mean(0, keepdim=True)",
        "x.nansum(0)",
        "x.prod(1)",
        "torch.prod(x, dim=-1)",
        "x.logsumexp(0)",
        "torch.logsumexp(x, dim=(0, 1))",
        "x.std(0)",
        "x.std(dim=(0, 1))",
        "torch.std(x, 1, keepdim=True)",
        "torch.std(x, dim=1, correction=0)",
        "x.var(-1)",
        "x.var(0, False)",
        "torch.var(x, dim=(0, 2))",
        "x.norm(dim=1)",
        "x.norm(2, 0)",
        "(x > 4).any(0)",
        "torch.all(x > 3, dim=-1, keepdim=True)",
        "torch.std_mean(x, 1)[1]",
        "torch.var_mean(x, dim=(0, 2))[0]",
        "x.norm(p=1, dim=(0, 1))",
        "torch.norm(x, dim=0)",
        "torch.norm(x, 2, -1, keepdim=True)",
    )
    def test_sums_and_the_like(self, example):
        assert not example.wrong()

    @examples(
        "x.max(1)[0]",
        "x.max(1)[1]",
        "x.max(dim=-1)[1]",
        "x.max(0, keepdim=True).values",
        "torch.max(x, 0).indices",
        "x.min(-1).values",
        "torch.min(x, dim=0)[0]",
        "x.amax(1)",
        "x.amax((0, 1))",
        "torch.amax(x, dim=(0, -1))",
        "x.amin(2)",
        "x.argmax(0)",
        "x.argmax(-1)",
        "x.argmax(dim=1)",
        "x.argmax(1, keepdim=True)",
        "torch.argmax(x, dim=0)",
        "x.argmin(1)",
        "x.median(0).values",
        "x.median(dim=1)[1]",
        "torch.median(x, -1)[0]",
        "x.mode()[0]",
        "x.mode(0)[0]",
        "x.nanmedian(1)[0]",
        "x.kthvalue(2, 0)[0]",
        "torch.aminmax(x, dim=1)[0]",
    )
    def test_the_largest_and_the_like(self, example):
        assert not example.wrong()

    @examples("torch.max(x, y)", "torch.max(m, other=n)", "torch.max(v, m)", "torch.max(row, m)", "x.max(n)")
    def test_the_larger_of_two(self, example):
        assert not example.wrong()


class TestSelecting:
    @examples(
        "x.select(0, 1)",
        "x.select(-1, 0)",
        "x.select(dim=1, index=2)",
        "torch.select(x, 1, 0)",
        "torch.select(x, dim=-2, index=0)",
        "x.unbind()[0]",
        "x.unbind(1)[0]",
        "x.unbind(-1)[2]",
        "x.unbind(dim=1)[0]",
        "torch.unbind(x, 2)[1]",
        "torch.unbind(x, axis=1)[1]",
        "list(x)[1]",
    )
    def test_one_entry(self, example):
        assert not example.wrong()

    @examples(
        "x.chunk(3)[0]",
        "x.chunk(2, 1)[0]",
        "torch.chunk(x, 3, dim=-1)[1]",
        "x.split(1)[0]",
        "x.split(2, 2)[0]",
        "x.split([1, 2], dim=1)[1]",
        "torch.split(x, 3, -1)[0]",
        "torch.tensor_split(x, 2, 1)[0]",
        "x.narrow(1, 0, 2)",
        "x.topk(2, 1)[0]",
        "x.topk(1, -1)[1]",
    )
    def test_a_part(self, example):
        assert not example.wrong()

    @examples(
        "x.index_select(1, INDEX)",
        "torch.index_select(x, dim=-1, index=INDEX)",
        "torch.gather(m, 1, TABLE)",
        "torch.gather(VECTORS[:, :1].expand(9, 3), 0, ids)",
        "VECTORS.mT[:1].expand(3, 9).gather(1, index=ids)",
        "torch.take(VECTORS, ids)",
        "torch.take_along_dim(kernel(3, 3).cumsum(0), ids % 3, 0)",
        "torch.searchsorted(kernel(3, 3).cumsum(1), n)",
    )
    def test_what_an_index_says_has_the_shape_of_the_index(self, example):
        assert not example.wrong()


class TestAnIndex:
    @examples(
        "x[0]",
        "x[-1]",
        "x[:, 0]",
        "x[..., 0]",
        "x[:, :, 1]",
        "x[0, :, 1]",
        "x[0, 1]",
        "x[(slice(None), 1)]",
        "x[torch.tensor(1)]",
        "x[:, torch.tensor(1)]",
        "x[:, np.int64(1)]",
        "x[..., 0, :]",
    )
    def test_of_numbers(self, example):
        assert not example.wrong()

    @examples("x[:]", "x[1:]", "x[:, 1:]", "x[:, :2, 0]", "x[::2]", "x[...]", "x[..., :2, :]", "x[0:3, -3:]")
    def test_of_slices(self, example):
        assert not example.wrong()

    @examples(
        "x[None]",
        "x[:, None]",
        "x[..., None]",
        "x[0, None]",
        "x[None, :, 0, None]",
        "x[None, ..., None, 0]",
        "x[True]",
        "x[:, True]",
    )
    def test_that_adds_dimensions(self, example):
        assert not example.wrong()

    @examples(
        "x[INDEX]",
        "x[:, INDEX]",
        "x[..., INDEX]",
        "x[TABLE]",
        "x[:, TABLE]",
        "maps[None, INDEX]",
        "maps[:, INDEX, None]",
        "maps[:, 0, INDEX]",
        "x[:, [0, 2, 1]]",
        "x[:, (0, 2, 1)]",
        "x[(0, 1),]",
        "x[:, [[0, 1], [1, 2]]]",
        "x[:, np.array([2, 0, 1])]",
        "PARAMETER[TABLE]",
    )
    def test_of_numbers_in_a_tensor_or_list(self, example):
        assert not example.wrong()

    @examples(
        "x[MASK]",
        "x[:, MASK]",
        "x[..., MASK]",
        "x[TABLE > 0]",
        "maps[:, TABLE > 0]",
        "x[:, [True, False, True]]",
        "x[:, np.array([True, False, True])]",
        "x[torch.tensor(True)]",
    )
    def test_of_masks(self, example):
        assert not example.wrong()

    @examples(
        "x[INDEX, INDEX]",
        "maps[:, INDEX, INDEX]",
        "maps[:, INDEX, TABLE]",
        "maps[:, TABLE, INDEX]",
        "maps[:, MASK, INDEX[:2]]",
        "x[:, [0, 1], [1, 2]]",
        "x[0, :, INDEX]",
        "x[INDEX, :, 0]",
        "volumes[:, INDEX, torch.tensor(0), INDEX]",
    )
    def test_of_several_side_by_side(self, example):
        assert not example.wrong()

    @examples(
        "x[INDEX, :, INDEX]",
        "x[INDEX, ..., INDEX]",
        "maps[:, INDEX, :, INDEX]",
        "maps[MASK, :, MASK]",
        "maps[TABLE, :, INDEX]",
        "maps[INDEX, None, INDEX]",
        "volumes[0, INDEX, :, :, INDEX]",
        "volumes[:, :, MASK, :, INDEX[:2]]",
        "volumes[:, INDEX, None, 0, INDEX]",
    )
    def test_of_several_apart_puts_theirs_first(self, example):
        assert not example.wrong()


class TestLayers:
    @examples(
        "linear(x)",
        "linear(m)",
        "F.linear(x, WEIGHT)",
        "F.linear(PARAMETER, WEIGHT)",
        "F.linear(v, WEIGHT)",
        "bilinear(m, torch.ones_like(m))",
        "words(ids)",
        "words(labels)",
        "F.embedding(ids, VECTORS)",
        "F.embedding(weight=VECTORS, input=ids)",
        "torch.embedding(WEIGHT, ids % 3)",
        "F.one_hot(ids)",
        "F.one_hot(labels, 3)",
        "F.one_hot(labels, num_classes=3)",
        "F.embedding(ids, words.weight).mean(1)",
    )
    def test_all_dimensions_but_the_last_are_as_before(self, example):
        assert not example.wrong()

    @examples("gru_cell(m)", "lstm_cell(m)[0]", "lstm_cell(m)[1]", "tanh_cell(m)", "relu_cell(m)")
    def test_a_recurrent_cell_makes_features(self, example):
        assert not example.wrong()

    @examples(
        "gru(x)[0]",
        "gru(x)[1]",
        "gru(m)[0]",
        "gru(two)[0]",
        "gru(two)[1]",
        "gru_of_batches(x)[0]",
        "gru_of_batches(x)[1]",
        "gru_of_batches(x)[1][-1]",
        "gru_of_batches(two)[0][:, -1]",
        "lstm(x)[0]",
        "lstm(x)[1][0]",
        "lstm(x)[1][1]",
        "lstm_of_batches(x)[0]",
        "lstm_of_batches(x)[1][0]",
        "lstm_of_batches(x)[1][1]",
        "lstm_of_batches(two)[1][0]",
        "rnn(x)[0]",
        "rnn(x)[1]",
        "rnn_of_batches(x)[0]",
        "rnn_of_batches(x)[1]",
    )
    def test_a_recurrent_layer_keeps_time_and_batch_in_its_outputs_and_the_batch_in_its_states(self, example):
        assert not example.wrong()

    @examples(
        "F.conv1d(x, kernel(3, 3, 3), padding=1)",
        "F.conv1d(m, kernel(3, 3, 3), padding=1)",
        "F.conv2d(maps, kernel(3, 3, 3, 3), padding=1)",
        "F.conv2d(maps, kernel(3, 3, 3, 3))",
        "F.conv2d(x, kernel(3, 3, 3, 3), padding=1)",
        "F.conv3d(volumes, kernel(3, 3, 3, 3, 3), padding=1)",
        "F.conv3d(maps, kernel(3, 3, 3, 3, 3), padding=1)",
        "F.conv_transpose1d(x, kernel(3, 3, 3), padding=1)",
        "F.conv_transpose2d(maps, kernel(3, 3, 3, 3), padding=1)",
        "F.conv_transpose2d(x, kernel(3, 3, 3, 3), padding=1)",
        "F.conv_transpose3d(volumes, kernel(3, 3, 3, 3, 3), padding=1)",
    )
    def test_a_convolution_makes_channels(self, example):
        assert not example.wrong()

    @examples(
        "F.max_pool1d(x, 2)",
        "F.max_pool2d(maps, 2)",
        "F.max_pool2d(maps, 3, 1, 1)",
        "F.avg_pool1d(x, 3, 1, 1)",
        "F.avg_pool2d(x, 3, 1, 1)",
        "F.adaptive_avg_pool1d(x, 1)",
        "F.adaptive_avg_pool2d(maps, 1)",
        "F.adaptive_max_pool2d(maps, (1, 3))",
        "F.interpolate(maps, scale_factor=2)",
        "F.interpolate(maps, size=(3, 6), mode='bilinear')",
        "F.interpolate(x, size=3)",
        "F.unfold(maps, 3, padding=1)",
        "F.grid_sample(maps, kernel(3, 3, 3, 2), align_corners=True)",
        "F.grid_sample(kernel(3, 1, 3, 3).cumsum(2), maps[..., :2] / 20 - 1, align_corners=True)[0]",
    )
    def test_pooling_and_resizing(self, example):
        assert not example.wrong()

    @examples(
        "attention(two, two, two)[0]",
        "attention(m, m, m)[0]",
        "attention_of_batches(two, two, two)[0]",
        "attention_in_evaluation(two, two, two)[0]",
        "F.scaled_dot_product_attention(x, KEYS, KEYS)",
    )
    def test_attention_has_the_rows_of_its_queries(self, example):
        assert not example.wrong()


class TestProducts:
    @examples(
        "m @ n.T",
        "m @ n.H",
        "m.mm(n.t())",
        "x @ y.mT",
        "x @ y.adjoint()",
        "x @ y.transpose(-1, -2)",
        "x @ y.swapdims(1, 2)",
        "x @ y.movedim(1, 2)",
        "x.bmm(y.transpose(1, 2))",
        "torch.matmul(x, y.permute(0, 2, 1))",
        "torch.addmm(kernel(3), m, n.T)",
        "v @ m.T",
        "torch.cdist(m, n)",
        "torch.cdist(x, y)",
        "torch.inner(m, n)",
        "torch.inner(x, m)",
        "torch.inner(v, m)",
    )
    def test_where_rows_are_compared_both_sides_tell(self, example):
        assert not example.wrong()

    @examples("m @ v", "x @ v", "maps @ v", "m.mv(v)", "torch.mv(m, v)")
    def test_of_a_vector_the_rows_are_left(self, example):
        assert not example.wrong()

    @examples(
        "x @ PARAMETER",
        "x.mT @ PARAMETER",
        "torch.mm(m, PARAMETER)",
        "m.T @ WEIGHT",
        "torch.addmm(PARAMETER[0], m, PARAMETER)",
        "torch.baddbmm(kernel(3, 3, 3), x, KEYS)",
        "torch.linalg.multi_dot([m, WEIGHT, WEIGHT.exp()])",
        "torch.linalg.matmul(x, WEIGHT)",
    )
    def test_the_columns_are_new_where_they_are_of_a_weight(self, example):
        assert not example.wrong()

    @saying(
        ("m @ n", ["m0", None]),
        ("torch.matmul(x, y)", ["x0", "x1", None]),
        ("m @ x", ["x0", "m0", None]),
        ("v @ x", ["x0", None]),
        ("torch.bmm(x, y)", ["x0", "x1", None]),
        ("PARAMETER @ m", [None, None]),
        ("PARAMETER @ x", ["x0", None, None]),
        ("m.__rmatmul__(n)", [None, None]),
        ("torch.inner(m, v)", [None]),
        ("F.scaled_dot_product_attention(KEYS, KEYS, y.mT)", [None, None, "y1"]),
    )
    def test_the_columns_are_new_in_any_other(self, example, said):
        assert example.said() == said
        assert example.only_omits()

    @saying(
        ("torch.einsum('bij,kj->bik', two, wide[:, :3])", ["two0", None, None]),
        ("torch.einsum('ij,jk->ik', m, wide)", [None, "wide1"]),
        ("torch.einsum('ij->ji', m)", [None, None]),
        ("torch.tensordot(wide, m, dims=([0], [1]))", ["wide1", None]),
    )
    def test_of_labelled_dimensions_only_sizes_tell(self, example, said):
        assert example.said() == said
        assert example.only_omits()


class TestInPlace:
    @examples(
        "x + y",
        "2 - x",
        "x * m",
        "m * x",
        "x + v",
        "v + x",
        "x + row",
        "thin * x",
        "row + v",
        "v[:, None] + n[0]",
        "nn.Parameter(kernel(3, 3)) + x",
        "x.relu()",
        "x.clamp(min=3)",
        "x.softmax(1)",
        "x.log_softmax(-1)",
        "F.softmax(x, dim=0)",
        "F.normalize(x, dim=1)",
        "F.layer_norm(x, (3,))",
        "F.batch_norm(x, None, None, training=True)",
        "torch.where(x > 3, x, y)",
        "torch.where(TABLE > 0, x, v)",
        "x.masked_fill(x > 3, 0)",
        "torch.lerp(x, y, 0.5)",
        "x.float()",
        "x.to(torch.float32)",
        "x.clone().add_(1)",
        "x.flip(0)",
    )
    def test_what_is_computed_element_by_element(self, example):
        assert not example.wrong()

    @examples("F.pad(x, (1, 1))", "F.pad(x, (0, 0, 1, 0))", "F.pad(x, (1, 1), mode='replicate')", "F.pad(m, (0, 0))")
    def test_what_is_padded(self, example):
        assert not example.wrong()

    @examples(
        "x.expand(3, 3, 3)",
        "x.expand(3, -1, -1, -1)",
        "row.expand(3, 3)",
        "thin.expand(-1, 3, -1)",
        "row.expand_as(m)",
        "x.broadcast_to(3, 3, 3, 3)",
        "torch.broadcast_to(v, (3, 3))",
        "x.repeat(1, 2, 1)",
        "x.repeat(3, 1, 1, 1)",
        "row.repeat(3, 1)",
        "x.tile(3, 1, 1, 1)",
        "x.tile((1, 2))",
        "x.repeat_interleave(2, 0)",
        "x.repeat_interleave(2, dim=-1)",
        "torch.repeat_interleave(x, torch.tensor([3, 0, 0]), dim=0)",
        "x.repeat_interleave(3)",
        "v.repeat_interleave(torch.tensor([3, 0, 0]))",
    )
    def test_what_is_repeated(self, example):
        assert not example.wrong()

    def test_what_has_more_than_one_source_of_its_shape_is_of_the_first(self):
        assert Example("x + y").said() == ["x0", "x1", "x2"]
        assert Example("PARAMETER + m").said() == ["m0", "m1"]


class TestSilence:
    """What a trail does not keep, or no shape tells."""

    @examples(
        "x.sum(np.int64(1))",
        "x.transpose(np.int64(0), 1)",
        "x.permute(np.int64(1), 0, 2)",
        "x.movedim(np.int64(0), 1)",
        "x.unsqueeze(np.int64(1))",
        "x.select(np.int64(1), 0)",
        "x[:, range(3)]",
    )
    def test_about_arguments_that_are_no_plain_numbers(self, example):
        assert set(example.said()) == {None}
        assert example.wrong()

    @examples(
        "x.diagonal()",
        "torch.diag_embed(m)",
        "torch.rot90(m)",
        "torch.as_strided(m, (3, 3), (1, 3))",
        "torch.broadcast_tensors(v, m)[0]",
        "torch.dstack([m, n, m])",
        "torch.column_stack([v, v, v])",
        "torch.stack([v[0], v[1], v[2]])",
        "nn.utils.rnn.pad_sequence([m, n])",
        "F.embedding_bag(ids, VECTORS)",
        "F.cosine_similarity(x, y)",
    )
    def test_about_operations_whose_arguments_are_not_kept(self, example):
        assert set(example.said()) == {None}
        assert example.wrong()

    @examples(
        "m.new_zeros(3, 3)",
        "m.new_ones(3, 3)",
        "m.new_empty(3, 3)",
        "m.new_full((3, 3), 1)",
        "labels.new_tensor([0, 1, 2])",
        "torch.nonzero(m > 2.8)",
        "torch.argwhere(m > 2.8)",
        "torch.cov(m)",
        "torch.corrcoef(m)",
        "torch.bincount(labels)",
        "torch.histc(v, 3)",
        "torch.unique(labels * 2)",
    )
    def test_about_what_has_a_shape_of_its_own(self, example):
        assert set(example.said()) == {None}

    @saying(
        ("deep(x)[0]", [None, "x1", None]),
        ("deep(x)[1]", [None, "x1", None]),
        ("deep_of_batches(x)[0]", [None, None, None]),
        ("deep_of_batches(x)[1]", [None, None, None]),
    )
    def test_about_outputs_that_may_be_states(self, example, said):
        assert example.said() == said
        assert example.only_omits()

    @saying(
        ("attention(x, x, x)[0]", [None, None, None]),
        ("attention(two, two, two)[1]", [None, None, None]),
        ("attention_in_evaluation(x, x, x)[1]", [None, None, None]),
        ("x.unfold(0, 3, 1)", [None, "x1", "x2", None]),
        ("torch.multinomial((wide * 500).softmax(1), 9, replacement=True)", ["wide0", None]),
    )
    def test_about_the_rest(self, example, said):
        assert example.said() == said
        assert example.only_omits()

    def test_about_a_tensor_that_was_changed_in_place_before_it_was_seen(self):
        tensor = torch.zeros(3, 3)
        with safe_ce.trail():
            made = operation_of(tensor.unsqueeze_(0))
        assert [origin(made, dim) for dim in range(3)] == [None] * 3


def test_every_rule_has_an_example():
    assert not set(RULES) - set().union(*(example.names() for example in EXAMPLES))


class TestAWay:
    def test_begins_where_the_dimension_or_its_size_was_made_and_ends_at_the_tensor(self):
        with safe_ce.trail():
            rows = torch.randn(3, 3, 3).permute(1, 0, 2).relu()[:, 0].unsqueeze(0)
            ways = [way_of(operation_of(rows), dim) for dim in range(3)]
        assert [[(step.made.name, step.dim) for step in way] for way in ways] == [
            [("unsqueeze", 0)],
            [("randn", 1), ("permute", 0), ("relu", 0), ("__getitem__", 0), ("unsqueeze", 1)],
            [("randn", 2), ("permute", 2), ("relu", 2), ("__getitem__", 1), ("unsqueeze", 2)],
        ]

    def test_begins_at_what_changed_the_size(self):
        with safe_ce.trail():
            cut = operation_of(torch.randn(4, 3)[1:].relu())
        assert [step.made.name for step in way_of(cut, 0)] == ["__getitem__", "relu"]
        assert [step.made.name for step in way_of(cut, 1)] == ["randn", "__getitem__", "relu"]

    @pytest.mark.parametrize(
        "expression", ["PARAMETER @ m", "PARAMETER @ x", "PARAMETER[ids % 3]", "F.linear(PARAMETER, m)"]
    )
    def test_does_not_lead_to_a_parameter_that_something_else_was_worked_on_with(self, expression):
        example = Example(expression)
        with safe_ce.trail():
            made = operation_of(example.call(example.sources))
            firsts = [way_of(made, dim)[0].made for dim in range(len(made.shape))]
        assert PARAMETER in {source.name for source in made.sources}
        assert PARAMETER not in {first.name for first in firsts}

    def test_of_what_has_no_sources_is_itself(self):
        with safe_ce.trail():
            made = operation_of(torch.randn(3))
        assert way_of(made, 0) == [Origin(made, 0)]
        assert origin(made, 0) is None

    def test_is_not_followed_for_ever(self):
        with safe_ce.trail():
            tensor = torch.zeros(3)
            for _ in range(STEPS + 100):
                tensor = tensor + 1
            assert len(way_of(operation_of(tensor), 0)) == STEPS + 1


class TestTheMainSource:
    @pytest.mark.parametrize(
        ("expression", "name"),
        [
            ("m @ n", "m"),
            ("linear(x)", "x"),
            ("words(ids)", "ids"),
            ("PARAMETER[labels]", "labels"),
            ("x[ids % 3]", "x"),
            ("torch.gather(m, 1, ids % 3)", "m"),
            ("torch.stack([m, n])", "m"),
            ("torch.cat([none, m])", "m"),
            ("v * x", "x"),
            ("PARAMETER + m", "m"),
            ("torch.where(ids > 3, m, n)", "m"),
            ("gru(x)[1]", "x"),
            ("F.pad(x, (1, 1))", "x"),
        ],
    )
    def test_is_the_first_or_the_one_of_the_result_s_size_and_dtype(self, expression, name):
        example = Example(expression)
        with safe_ce.trail():
            made = operation_of(example.call(example.sources))
            assert main_source(made) is operation_of(example.sources[name])

    def test_is_a_parameter_only_where_there_is_nothing_else(self):
        with safe_ce.trail():
            assert main_source(operation_of(GIVEN["PARAMETER"].relu())) is operation_of(GIVEN["PARAMETER"])

    def test_of_what_came_from_nothing_is_none(self):
        with safe_ce.trail():
            assert main_source(operation_of(torch.zeros(3))) is None
