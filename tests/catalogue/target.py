"""SCE204, SCE206, SCE215 and SCE216."""

import numpy as np
import torch
from torch import nn

from tests.catalogue.ingredients import (
    ids,
    one_hot,
    per_pixel,
    scores,
)
from tests.catalogue.spec import Spec


class Tensorlike:
    """An object of another library that has a shape and a dtype."""

    shape = (4,)
    dtype = "int64"


SPECS = (
    Spec(
        "target-extra-dim",
        fires={
            "a column": lambda: (nn.Linear(8, 5)(torch.randn(4, 8)), ids(4, 1)),
            "a row": lambda: (scores(4, 5), ids(1, 4)),
            "a batch of one": lambda: (scores(1, 5), ids(1, 1)),
            "two of them": lambda: (scores(4, 5), ids(4, 1, 1)),
            "a mask with a channel": lambda: (per_pixel(2, 3, 4, 6), ids(2, 1, 4, 6)),
            "a mask of bytes, channel last": lambda: (per_pixel(2, 3, 4, 6), ids(2, 4, 6, 1).byte()),
            "a volume": lambda: (nn.Conv3d(1, 5, 1)(torch.randn(2, 1, 2, 3, 4)), ids(2, 1, 2, 3, 4)),
            "floats": lambda: (scores(4, 5), ids(4, 1).float()),
            "ignored labels among them": lambda: (scores(4, 5), torch.tensor([[1], [-100], [4], [0]])),
        },
        silent={
            "class ids": lambda: (scores(4, 5), ids(4)),
            "a mask of one row": lambda: (scores(2, 5, 1, 6), ids(2, 1, 6)),
            "a mask of one sample": lambda: (scores(1, 5, 4, 6), ids(1, 4, 6)),
            "labels of every step": lambda: (scores(4, 5), ids(4, 3)),
            "one-hot": lambda: (scores(4, 5), one_hot(4)),
            "real numbers": lambda: (scores(4, 5), torch.randn(4, 1)),
            "the other batch size": lambda: (scores(4, 5), ids(3, 1)),
        },
    ),
    Spec(
        "target-missing-batch-dim",
        fires={
            "a single label": lambda: (nn.Linear(8, 5)(torch.randn(1, 8)), torch.tensor(3)),
            "a single label of bytes": lambda: (scores(1, 5), torch.tensor(3, dtype=torch.uint8)),
            "a mask": lambda: (per_pixel(1, 3, 4, 6), ids(4, 6)),
            "a volume": lambda: (nn.Conv3d(1, 5, 1)(torch.randn(1, 1, 2, 3, 4)), ids(2, 3, 4)),
            "the labels of one sequence": lambda: (scores(1, 5, 7), ids(7)),
            "one label for a whole batch": lambda: (scores(4, 5), torch.tensor(3)),
            "one mask for a whole batch": lambda: (per_pixel(2, 3, 4, 6), ids(4, 6)),
        },
        silent={
            "an unbatched call": lambda: (scores(5), torch.tensor(3)),
            "a batch of one": lambda: (scores(1, 5), ids(1)),
            "a mask with its batch": lambda: (per_pixel(1, 3, 4, 6), ids(1, 4, 6)),
            "logits without a batch": lambda: (scores(5), ids(3)),
            "a mask with a channel": lambda: (per_pixel(1, 3, 4, 6), ids(1, 1, 4, 6)),
            "one label per sample": lambda: (per_pixel(4, 3, 4, 6), ids(4)),
        },
        mended=lambda: (scores(1, 5), ids(1)),
    ),
    Spec(
        "target-not-tensor",
        fires={
            "a list": lambda: (scores(3, 5), [4, 0, 2]),
            "a tuple of a batch": lambda: (scores(3, 5), (4, 0, 2)),
            "a NumPy array": lambda: (nn.Linear(8, 5)(torch.randn(3, 8)), np.array([4, 0, 2])),
            "a read-only NumPy array of bytes": lambda: (scores(3, 5), np.frombuffer(b"\4\0\2", "u1")),
            "a number": lambda: (scores(1, 5), 3),
            "a number, unbatched": lambda: (scores(5), 3),
            "a list of tensors": lambda: (scores(3, 5), [torch.tensor(4), torch.tensor(0), torch.tensor(2)]),
            "labels and their lengths": lambda: (scores(3, 5), (ids(3), torch.tensor([7, 7, 7, 7]))),
            "a dict": lambda: (scores(3, 5), {"labels": ids(3)}),
        },
        silent={
            "a tensor": lambda: (scores(3, 5), ids(3)),
            "a 0-d tensor": lambda: (scores(5), torch.tensor(3)),
            "an output that is no tensor": lambda: ((scores(3, 5),), ids(3)),
            "a tensor of the wrong dtype": lambda: (scores(3, 5), ids(3).float()),
        },
        beside={
            "None": lambda: (scores(3, 5), None),
            "names": lambda: (scores(3, 5), ["cat", "dog", "cat"]),
            "labels out of range": lambda: (scores(3, 5), [4, 0, 7]),
            "an object of another library": lambda: (scores(4, 5), Tensorlike()),
            "lists of different lengths": lambda: (scores(2, 5), [[1, 2], [3]]),
            "no labels": lambda: (scores(2, 5), []),
            "a key that is no literal": lambda: (scores(3, 5), {object(): ids(3)}),
            "both no tensors": lambda: ([[0.1, 0.9]], [1]),
        },
    ),
    Spec(
        "empty-batch",
        fires={
            "nothing selected": lambda: (scores(40, 5)[torch.zeros(40, dtype=torch.bool)], ids(0)),
            "per pixel": lambda: (per_pixel(0, 3, 4, 4), ids(0, 4, 4)),
            "no steps": lambda: (scores(2, 5, 0), ids(2, 0)),
            "soft targets": lambda: (scores(0, 5), torch.zeros(0, 5)),
            "weighted": lambda: (scores(0, 5), ids(0), {"weight": torch.ones(5)}),
        },
        silent={
            "summed": lambda: (scores(0, 5), ids(0), {"reduction": "sum"}),
            "not reduced": lambda: (scores(0, 5), ids(0), {"reduction": "none"}),
            "one sample": lambda: (scores(1, 5), ids(1)),
            "targets without logits": lambda: (scores(0, 5), ids(3)),
            "every target ignored": lambda: (scores(2, 5), torch.full((2,), -100)),
        },
    ),
)
