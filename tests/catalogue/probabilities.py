"""SCE201 to SCE203."""

import torch
from torch import nn

from tests.catalogue.ingredients import ids, multi_hot, one_hot, per_pixel, per_token, scores, soft
from tests.catalogue.spec import Spec

SPECS = (
    Spec(
        "one-hot-target",
        fires={
            "more columns than classes": lambda: (scores(16, 5), one_hot(16, classes=7)),
            "integers of the input's shape": lambda: (scores(4, 5), one_hot(4)),
            "floats, which native accepts": lambda: (scores(4, 5), one_hot(4).float()),
            "booleans": lambda: (nn.Linear(8, 5)(torch.randn(4, 8)), one_hot(4).bool()),
            "a batch of one": lambda: (scores(1, 5), one_hot(1)),
            "flattened to a row": lambda: (scores(4, 5), one_hot(4).reshape(-1)),
            "flattened booleans": lambda: (scores(4, 5), one_hot(4).reshape(-1) == 1),
            "per pixel, classes first": lambda: (per_pixel(2, 3, 4, 6), one_hot(2, 4, 6).movedim(-1, 1).byte()),
            "per pixel, classes last": lambda: (per_pixel(2, 3, 4, 6), one_hot(2, 4, 6)),
            "per voxel": lambda: (nn.Conv3d(1, 5, 1)(torch.randn(1, 1, 2, 3, 4)), one_hot(1, 2, 3, 4)),
            "per token, against rows of scores": lambda: (per_token(2, 7).view(-1, 5), one_hot(2, 7)),
            "classes last on both sides": lambda: (per_token(2, 7), one_hot(2, 7)),
        },
        mended=lambda: (scores(16, 7), ids(16, classes=7)),
        silent={
            "class ids": lambda: (scores(4, 5), ids(4)),
            "class ids of two classes": lambda: (scores(6, 2), torch.tensor([0, 1, 0, 0, 1, 1])),
            "a mask of zeros and ones": lambda: (scores(2, 2, 4, 4), torch.eye(4, dtype=torch.int64).expand(2, 4, 4)),
            "soft targets": lambda: (scores(4, 5), soft(4, 5)),
            "a smoothed one-hot": lambda: (scores(4, 5), one_hot(4) * 0.9 + 0.02),
            "mixup": lambda: (scores(9, 5), 0.3 * one_hot(9) + 0.7 * one_hot(9)),
            "several classes per row": lambda: (scores(4, 5), multi_hot(4)),
            "rows without a class": lambda: (scores(4, 5), torch.zeros(4, 5, dtype=torch.int64)),
            "one class": lambda: (scores(4, 1), torch.ones(4, 1)),
        },
        beside={
            "classes last, in a soft target's place": lambda: (per_token(2, 5), one_hot(2, 5).int()),
        },
    ),
    Spec(
        "multi-hot-target",
        fires={
            "integers": lambda: (scores(4, 5), multi_hot(4)),
            "floats, which native accepts": lambda: (nn.Linear(8, 5)(torch.randn(4, 8)), multi_hot(4).float()),
            "booleans": lambda: (scores(4, 5), multi_hot(4).bool()),
            "rows with none, one and several": lambda: (
                scores(3, 4),
                torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1]]),
            ),
            "a batch of one": lambda: (scores(1, 5), multi_hot(1)),
            "per pixel": lambda: (per_pixel(2, 3, 4, 4), multi_hot(2, 4, 4).float()),
        },
        silent={
            "class ids": lambda: (scores(4, 5), ids(4)),
            "one class per row": lambda: (scores(4, 5), one_hot(4)),
            "a float one-hot": lambda: (scores(4, 5), one_hot(4).float()),
            "a one-hot with its classes last": lambda: (per_token(2, 7), one_hot(2, 7).float()),
            "soft targets": lambda: (scores(4, 5), soft(4, 5)),
            "counts": lambda: (scores(2, 3), torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])),
            "a binary task of one output": lambda: (scores(4, 1), torch.ones(4, 1)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
    ),
    Spec(
        "target-not-normalized",
        fires={
            "percentages": lambda: (scores(4, 5), 100 * soft(4, 5)),
            "counts": lambda: (scores(2, 3), torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])),
            "a teacher's scores": lambda: (nn.Linear(8, 5)(torch.randn(4, 8)), torch.randn(4, 5)),
            "log-probabilities": lambda: (scores(4, 5), torch.randn(4, 5).log_softmax(1)),
            "per pixel, double precision": lambda: (per_pixel(2, 3, 4, 4), 3 * soft(2, 5, 4, 4).double()),
            "one sample": lambda: (scores(5), torch.tensor([0.5, 0.5, 0.5, 0.5, 0.0])),
            "padding as rows of zeros": lambda: (scores(2, 3), torch.tensor([[0.2, 0.3, 0.5], [0.0, 0.0, 0.0]])),
            "NaN": lambda: (scores(2, 3), torch.tensor([[0.2, float("nan"), 0.5], [0.3, 0.3, 0.4]])),
            "negative entries in rows that sum to 1": lambda: (scores(1, 3), torch.tensor([[1.5, -0.6, 0.1]])),
        },
        silent={
            "soft targets": lambda: (scores(4, 5), soft(4, 5)),
            "a teacher of half precision": lambda: (scores(4, 1000), soft(4, 1000).half()),
            "a teacher of bfloat16": lambda: (scores(4, 1000), soft(4, 1000).bfloat16()),
            "soft targets per pixel": lambda: (per_pixel(2, 3, 4, 4), soft(2, 5, 4, 4)),
            "one sample": lambda: (scores(5), soft(5, dim=0)),
            "a float one-hot": lambda: (scores(4, 5), one_hot(4).float()),
            "classes last on both sides": lambda: (per_token(2, 7), soft(2, 7, 5, dim=2)),
            "binary labels": lambda: (scores(4), torch.tensor([1.0, 0.0, 1.0, 1.0])),
            "rows of zeros that are summed": lambda: (
                scores(2, 3),
                torch.tensor([[0.2, 0.3, 0.5], [0.0, 0.0, 0.0]]),
                {"reduction": "sum"},
            ),
        },
        mended=lambda: (scores(2, 3), soft(2, 3)),
    ),
)
