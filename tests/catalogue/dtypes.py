"""SCE207, SCE208 and SCE214."""

import torch

from tests.catalogue.ingredients import (
    NAN,
    ids,
    scores,
)
from tests.catalogue.spec import Spec

SPECS = (
    Spec(
        "float-index-target",
        fires={
            "float32": lambda: (scores(4, 5), torch.tensor([3.0, 0, 4, 1])),
            "float64 per pixel": lambda: (scores(2, 5, 4, 4), ids(2, 4, 4).double()),
            "half precision": lambda: (scores(4, 5, dtype=torch.bfloat16), torch.tensor([3.0, 0, 4, 1]).bfloat16()),
            "with padding": lambda: (scores(4, 5), torch.tensor([3.0, -100, 4, 1])),
            "a missing label, read as NaN": lambda: (scores(4, 5), torch.tensor([3.0, NAN, 4, 1])),
            "unbatched": lambda: (scores(5), torch.tensor(3.0)),
        },
        silent={
            "int64": lambda: (scores(4, 5), ids(4)),
            "class probabilities": lambda: (scores(4, 5), torch.randn(4, 5).softmax(1)),
            "numbers with fractions": lambda: (scores(4, 5), torch.tensor([3.5, 0, 4, 1])),
            "a float one-hot": lambda: (scores(4, 5), torch.eye(5)[ids(4)]),
            "int32": lambda: (scores(4, 5), ids(4).int()),
        },
        mended=lambda: (scores(4, 5), ids(4)),
        beside={"ids out of range as well": lambda: (scores(4, 5), torch.tensor([3.0, 0, 9, 1]))},
    ),
    Spec(
        "wrong-int-target",
        fires={
            "int32": lambda: (scores(4, 5), ids(4).int()),
            "int8 per token": lambda: (scores(2, 5, 3), ids(2, 3).to(torch.int8)),
            "bool": lambda: (scores(4, 2), ids(4, classes=2).bool()),
            "uint8 per pixel": lambda: (scores(2, 5, 4, 4), ids(2, 4, 4).byte()),
            "int16 per voxel": lambda: (scores(2, 5, 2, 2, 2), ids(2, 2, 2, 2).short()),
            "unbatched": lambda: (scores(5), torch.tensor(3, dtype=torch.int32)),
        },
        silent={
            "uint8 of one dimension": lambda: (scores(4, 5), ids(4).byte()),
            "uint8 of one dimension, out of range": lambda: (scores(4, 5), torch.tensor([3, 0, 7, 1]).byte()),
            "float ids": lambda: (scores(4, 5), ids(4).float()),
            "a bool one-hot": lambda: (scores(4, 5), torch.eye(5)[ids(4)].bool()),
            "rows that do not fit": lambda: (scores(4, 5), ids(3).int()),
        },
    ),
    Spec(
        "regression-target",
        fires={
            "prices": lambda: (scores(4, 2), torch.tensor([5.5, 3.8, 2.6, 4.25])),
            "depth per pixel": lambda: (scores(2, 5, 4, 4), 10 * torch.rand(2, 4, 4)),
            "half precision, a column": lambda: (scores(4, 2), torch.tensor([[5.5], [3.75], [2.5], [4.25]]).half()),
            "one output each": lambda: (scores(4), torch.tensor([5.5, 3.8, -2.6, 4.25])),
            "a missing number": lambda: (scores(4, 2), torch.tensor([5.5, NAN, 2.6, 4.25])),
            "an endless number": lambda: (scores(4, 2), torch.tensor([5.5, float("inf"), 2.6, 4.25])),
        },
        silent={
            "class ids": lambda: (scores(4, 2), ids(4, classes=2)),
            "float ids": lambda: (scores(4, 2), ids(4, classes=2).float()),
            "float ids, one missing": lambda: (scores(4, 5), torch.tensor([3.0, NAN, 4, 1])),
            "class probabilities": lambda: (scores(4, 2), torch.randn(4, 2).softmax(1)),
            "unbatched class probabilities": lambda: (scores(5), torch.randn(5).softmax(0)),
        },
        mended=lambda: (scores(4, 2), ids(4, classes=2)),
    ),
)
