"""SCE207 to SCE214."""

import torch

from tests.catalogue.ingredients import NAN, ids, one_of, scores
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
        "labels-start-at-one",
        fires={
            "1 to C": lambda: (scores(6, 4), torch.tensor([1, 2, 3, 4, 1, 2])),
            "two classes": lambda: (scores(4, 2), torch.tensor([1, 2, 2, 1])),
            "with padding": lambda: (scores(4, 4), torch.tensor([1, 4, -100, 2])),
            "per pixel": lambda: (scores(2, 3, 4, 4), one_of([1, 2, 3], 2, 4, 4)),
            "float ids beside": lambda: (scores(6, 4), torch.tensor([1.0, 2, 3, 4, 1, 2])),
            "an ignore_index that moves as well": lambda: (
                scores(4, 4),
                torch.tensor([1, 4, 3, 2]),
                {"ignore_index": 3},
            ),
        },
        silent={
            "0 to C - 1": lambda: (scores(6, 4), torch.tensor([1, 2, 3, 0, 1, 2])),
            "1 to C - 1": lambda: (scores(6, 4), torch.tensor([1, 2, 3, 3, 1, 2])),
            "0 to C": lambda: (scores(6, 4), torch.tensor([1, 2, 0, 4, 1, 2])),
            "0 as padding": lambda: (scores(6, 4), torch.tensor([1, 2, 0, 4, 1, 2]), {"ignore_index": 0}),
            "far beyond C": lambda: (scores(6, 4), torch.tensor([1, 2, 9, 4, 1, 2])),
        },
        mended=lambda: (scores(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])),
    ),
    Spec(
        "label-out-of-range",
        fires={
            "beyond C": lambda: (scores(6, 4), torch.tensor([0, 3, 7, 1, 0, 2])),
            "0 to C": lambda: (scores(6, 4), torch.tensor([1, 2, 0, 4, 1, 2])),
            "negative": lambda: (scores(6, 4), torch.tensor([1, 2, 0, -3, 1, 2])),
            "-1 and 1": lambda: (scores(4, 2), torch.tensor([-1, 1, 1, -1])),
            "tokens past the vocabulary": lambda: (scores(6, 50), torch.tensor([4, 49, 50, 0, 73, 1])),
            "one pixel": lambda: (scores(1, 4, 3, 3), one_of([0, 1, 2, 3, 0, 1, 2, 3, 6], 1, 3, 3)),
            "unbatched": lambda: (scores(5), torch.tensor(8)),
            "uint8": lambda: (scores(4, 5), torch.tensor([3, 0, 7, 1]).byte()),
        },
        silent={
            "in range": lambda: (scores(6, 4), ids(6, classes=4)),
            "padding that is ignored": lambda: (scores(4, 5), torch.tensor([0, -1, 2, -1]), {"ignore_index": -1}),
            "rows that do not fit": lambda: (scores(4, 5), torch.tensor([0, 9, 2])),
            "ids per pixel for scores per image": lambda: (scores(4, 5), torch.full((4, 6, 6), 9)),
            "numbers with fractions": lambda: (scores(4, 2), torch.tensor([5.5, 3.8, 2.6, 4.2])),
        },
        mended=lambda: (scores(6, 8), torch.tensor([0, 3, 7, 1, 0, 2])),
        beside={
            "tokens past the vocabulary, per sequence": lambda: (
                scores(2, 50, 3),
                torch.tensor([[4, 49, 50], [0, 73, 1]]),
            ),
        },
    ),
    Spec(
        "ignore-index-mismatch",
        fires={
            "255 for void": lambda: (scores(2, 5, 3, 3), one_of([0, 1, 2, 3, 4, 255], 2, 3, 3)),
            "-100 with another ignore_index": lambda: (
                scores(6, 5),
                torch.tensor([0, 3, -100, 1, -100, 4]),
                {"ignore_index": -1},
            ),
            "-1 for the unlabelled": lambda: (scores(6, 5), torch.tensor([0, 3, -1, 1, -1, 4])),
            "255 in uint8": lambda: (scores(2, 5, 3, 3), one_of([0, 1, 2, 3, 4, 255], 2, 3, 3).byte()),
            "C, with an ignore_index that never occurs": lambda: (
                scores(6, 5),
                torch.tensor([0, 3, 5, 1, 5, 4]),
                {"ignore_index": 255},
            ),
            "two kinds of void": lambda: (scores(6, 5), torch.tensor([0, 3, 255, 1, -100, 4])),
        },
        silent={
            "the ignore_index in force": lambda: (
                scores(6, 5),
                torch.tensor([0, 3, 255, 1, 4, 4]),
                {"ignore_index": 255},
            ),
            "void by default": lambda: (scores(6, 5), torch.tensor([0, 3, -100, 1, 4, 4])),
            "255 that is a class": lambda: (scores(4, 256), torch.tensor([0, 3, 255, 1])),
            "other ids out of range": lambda: (scores(6, 5), torch.tensor([0, 3, 77, 1, 4, 4])),
            "several ids out of range": lambda: (scores(6, 5), torch.tensor([0, 3, 255, 1, 9, 4])),
        },
        beside={
            "-1 and 1 for two classes": lambda: (scores(4, 2), torch.tensor([-1, 1, 1, -1])),
            "0 and 255 alone": lambda: (scores(1, 2, 4, 4), one_of([0, 255], 1, 4, 4)),
        },
    ),
    Spec(
        "mask-not-class-ids",
        fires={
            "0 and 255": lambda: (scores(1, 2, 4, 4), one_of([0, 255], 1, 4, 4)),
            "0 and 255 in uint8": lambda: (scores(1, 2, 4, 4), one_of([0, 255], 1, 4, 4).byte()),
            "0 and 255 as floats": lambda: (scores(1, 2, 4, 4), one_of([0, 255], 1, 4, 4).float()),
            "a palette": lambda: (scores(2, 4, 4, 4), one_of([0, 85, 170, 255], 2, 4, 4)),
            "the shades of interpolation": lambda: (scores(1, 2, 4, 4), one_of([0, 64, 127, 191, 255], 1, 4, 4)),
            "volumes": lambda: (scores(1, 3, 4, 4, 4), one_of([0, 128, 255], 1, 4, 4, 4)),
        },
        silent={
            "ids": lambda: (scores(1, 2, 4, 4), ids(1, 4, 4, classes=2)),
            "ids and a void id": lambda: (scores(1, 3, 4, 4), one_of([0, 1, 2, 255], 1, 4, 4)),
            "one id past the head": lambda: (scores(1, 3, 4, 4), one_of([0, 1, 2, 3], 1, 4, 4)),
            "widely spaced token ids": lambda: (scores(4, 50), torch.tensor([4, 60, 120, 180])),
            "256 classes": lambda: (scores(1, 256, 4, 4), one_of([0, 255], 1, 4, 4)),
        },
        mended=lambda: (scores(1, 2, 4, 4), ids(1, 4, 4, classes=2)),
    ),
    Spec(
        "all-targets-ignored",
        fires={
            "by default": lambda: (scores(4, 5), torch.full((4,), -100)),
            "a chosen id": lambda: (scores(4, 5), torch.zeros(4, dtype=torch.int64), {"ignore_index": 0}),
            "a mask of void": lambda: (scores(2, 5, 4, 4), torch.full((2, 4, 4), 255), {"ignore_index": 255}),
            "one sample": lambda: (scores(1, 5), torch.tensor([-100])),
            "unbatched, half precision": lambda: (scores(5, dtype=torch.bfloat16), torch.tensor(-100)),
            "label smoothing": lambda: (scores(4, 5), torch.full((4,), -100), {"label_smoothing": 0.1}),
        },
        silent={
            "a sum": lambda: (scores(4, 5), torch.full((4,), -100), {"reduction": "sum"}),
            "no reduction": lambda: (scores(4, 5), torch.full((4,), -100), {"reduction": "none"}),
            "all but one": lambda: (scores(4, 5), torch.tensor([-100, -100, 3, -100])),
            "one class alone": lambda: (scores(4, 5), torch.zeros(4, dtype=torch.int64)),
            "a void id that is not ignored": lambda: (scores(4, 5), torch.full((4,), -1)),
            "no rows": lambda: (scores(0, 5), torch.zeros(0, dtype=torch.int64)),
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
