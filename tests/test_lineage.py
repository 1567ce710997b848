"""Where each dimension of a tensor came from: what the trail says of it, and what its values show.

Reversing a source along a dimension reverses a result along the one that came from it, and along no other. Nearly all
sizes here are equal, so that no size tells dimensions apart.
"""

from __future__ import annotations

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import safe_ce
from safe_ce import recording
from safe_ce.lineage import way_of

INDEX = torch.tensor([2, 0, 0])
TABLE = torch.tensor([[2, 0, 1], [0, 0, 2], [1, 2, 0]])
MASK = torch.tensor([True, False, True])
WEIGHT = torch.linspace(-1, 1, 9, dtype=torch.float64).view(3, 3)


def forgetful(kind, **options):
    """A recurrent layer that keeps nothing of earlier steps: only so its outputs can be reversed with its input."""
    layer = kind(3, 3, dtype=torch.float64, **options)
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            nn.init.zeros_(parameter)
        if name.startswith("bias_ih") and kind is not nn.RNN:
            parameter.data[3:6] = -100  # of both kinds it is the second gate that keeps a state
    return layer


def module(kind, *arguments, **options):
    return kind(*arguments, dtype=torch.float64, **options)


NAMES = {
    "torch": torch, "F": F, "nn": nn, "numpy": numpy, "forgetful": forgetful, "module": module,
    "INDEX": INDEX, "TABLE": TABLE, "MASK": MASK, "WEIGHT": WEIGHT,
}

SHAPES = {
    "v": (3,), "m": (3, 3), "n": (3, 3), "x": (3, 3, 3), "y": (3, 3, 3), "maps": (3, 3, 3, 3), "wide": (3, 9),
    "volumes": (3, 3, 3, 3, 3), "thin": (3, 1, 3), "thinner": (1, 3, 3, 1), "row": (1, 3), "nothing": (0,),
    "pair": (2, 3, 3), "ids": (3, 3), "labels": (3,),
}
"""Of the sources that examples name."""


def source(name):
    """A tensor whose values are all different; of ids as different as they can be."""
    shape = SHAPES[name]
    values = torch.randperm(torch.Size(shape).numel(), generator=torch.Generator().manual_seed(len(shape))).view(shape)
    return values % 9 if name in ("ids", "labels") else values.double() / 7 + 1.1


class Example:
    """An expression of some sources."""

    def __init__(self, expression):
        code = compile(expression, expression, "eval")
        self.call = lambda given: eval(code, {**NAMES, **given})
        self.sources = {name: source(name) for name in SHAPES if name in code.co_names}

    def said(self):
        """By the dimension of the result: the source and its dimension that it came from, or None."""
        with safe_ce.trail():
            result = self.call(self.sources)
            recorder = recording.active()
            made = recorder.operation_of(result)
            names = {recorder.operation_of(tensor): name for name, tensor in self.sources.items()}
            firsts = [way_of(made, dim)[0] for dim in range(result.dim())]
        return [(names[first.made], first.dim) if first.made in names else None for first in firsts]

    def shown(self):
        """By the dimension of the result: the sources and their dimensions that it came from."""
        found = {}
        for name, tensor in self.sources.items():
            constant = {other: torch.ones_like(tensor) for other, tensor in self.sources.items()}
            result = self.call({**constant, name: tensor})
            for dim, size in enumerate(tensor.shape):
                turned = self.call({**constant, name: tensor.flip(dim)})
                if same(turned, result):
                    continue
                for place in range(result.dim()):
                    if result.shape[place] == size and same(turned, result.flip(place)):
                        found.setdefault(place, []).append((name, dim))
        return [found.get(place, [None]) for place in range(result.dim())]


def same(one, other):
    return one.shape == other.shape and torch.allclose(one.double(), other.double())


def examples(*expressions):
    return pytest.mark.parametrize("example", [pytest.param(Example(text), id=text) for text in expressions])


def agrees(example):
    said, shown = example.said(), example.shown()
    return all(one in all_ for one, all_ in zip(said, shown, strict=True)) or f"{said}, but {shown}"


EMB = nn.Embedding(9, 3, dtype=torch.float64)
KEYS = WEIGHT.expand(3, 3, 3)
NAMES.update(
    EMB=EMB,
    KEYS=KEYS,
    LIN=module(nn.Linear, 3, 3),
    BIL=module(nn.Bilinear, 3, 3, 3),
    GRU=forgetful(nn.GRU),
    GRUB=forgetful(nn.GRU, batch_first=True),
    LSTM=forgetful(nn.LSTM, num_layers=2),
    LSTMB=forgetful(nn.LSTM, batch_first=True, bidirectional=True),
    LSTM3=forgetful(nn.LSTM, num_layers=3),
    LSTM3B=forgetful(nn.LSTM, num_layers=3, batch_first=True),
    RNN=forgetful(nn.RNN),
    RNNB=forgetful(nn.RNN, batch_first=True, nonlinearity="relu"),
    MHA=module(nn.MultiheadAttention, 3, 1),
    MHAB=module(nn.MultiheadAttention, 3, 1, batch_first=True),
    CELL=module(nn.GRUCell, 3, 3),
    LCELL=module(nn.LSTMCell, 3, 3),
    K1=torch.ones(3, 3, 3).double(),
    K2=torch.ones(3, 3, 3, 3).double(),
    K3=torch.ones(3, 3, 3, 3, 3).double(),
)
