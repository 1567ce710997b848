"""The calls that are measured: logits as a trained classifier gives them, and class ids."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

SIZES = ((32, 10), (128, 1000), (512, 32000), (8, 21, 128, 128))
NEW_SHAPES = "new shapes"
FORWARD, BACKWARD = "forward", "fwd+bwd"

SHORTEST, LONGEST, CLASSES = 32, 64, 10
DRAWN = 100
"""Batches whose length is drawn."""


class Case(NamedTuple):
    """Calls that are made in turn.

    Attributes:
        name: The shape of the logits, or what is said of it.
        pairs: Logits and class ids of each call.
        recorded: Whether a graph is recorded: the logits are leaves that require a gradient.
    """

    name: str
    pairs: tuple[tuple[Tensor, Tensor], ...]
    recorded: bool

    @property
    def phase(self) -> str:
        return BACKWARD if self.recorded else FORWARD


def of_shape(shape: tuple[int, ...], *, recorded: bool) -> Case:
    """The same call over and over."""
    return Case(named(shape), (_pair(shape, torch.Generator().manual_seed(0), recorded=recorded),), recorded)


def of_new_shapes(*, recorded: bool) -> Case:
    """Another length of the batch at every call, in no order."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (DRAWN,), generator=generator)
    pairs = tuple(_pair((length, CLASSES), generator, recorded=recorded) for length in lengths.tolist())
    return Case(NEW_SHAPES, pairs, recorded)


def named(shape: tuple[int, ...]) -> str:
    """A shape as it is printed."""
    return "(" + ", ".join(str(size) for size in shape) + ")"


def elements(shape: tuple[int, ...]) -> int:
    """The number of scores in logits of a shape."""
    return math.prod(shape)


def _pair(shape: tuple[int, ...], generator: torch.Generator, *, recorded: bool) -> tuple[Tensor, Tensor]:
    input = torch.randn(shape, generator=generator).mul_(2)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    # The label's score is above the others, as it is once a model has learnt something.
    input.scatter_add_(1, target.unsqueeze(1), torch.full_like(input[:, :1], 3.0))
    return input.requires_grad_(recorded), target
