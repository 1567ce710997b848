"""SCE209 to SCE211 and SCE213."""

import torch

from tests.catalogue.ingredients import (
    ids,
    one_of,
    scores,
)
from tests.catalogue.spec import Spec

SPECS = (
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
            "labels of -1 and 1": lambda: (scores(6, 2), torch.tensor([-1, 1, 1, -1, 1, -1])),
            "one label past a large head": lambda: (scores(4, 1000), torch.tensor([5, 1000, 340, 12])),
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
)
