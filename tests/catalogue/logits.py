"""SCE106, SCE108 and SCE110 to SCE112."""

from __future__ import annotations

import torch
from torch import nn

from tests.catalogue.ingredients import INF, NAN, half, ids, scores, with_value
from tests.catalogue.spec import Spec

SPECS = (
    Spec(
        "single-logit",
        fires={
            "one output": lambda: (nn.Linear(6, 1)(torch.randn(4, 6)), torch.zeros(4, dtype=torch.int64)),
            "labels of both classes": lambda: (scores(4, 1), torch.tensor([0, 1, 1, 0])),
            "float labels of the same shape": lambda: (scores(4, 1), torch.tensor([[0.0], [1], [1], [0]])),
            "a mask of one channel": lambda: (scores(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)),
            "a float mask of one channel": lambda: (scores(2, 1, 4, 4), torch.rand(2, 1, 4, 4).round()),
            "half precision": lambda: (scores(4, 1, dtype=torch.bfloat16), torch.zeros(4, dtype=torch.int64)),
        },
        silent={
            "two outputs": lambda: (scores(4, 2), ids(4, classes=2)),
            "one sample": lambda: (scores(1, 5), ids(1)),
            "images of one column": lambda: (scores(2, 5, 4, 1), ids(2, 4, 1)),
            "scores without a class dimension": lambda: (scores(4), ids(4, classes=2)),
        },
        mended=lambda: (scores(4, 2), ids(4, classes=2)),
    ),
    Spec(
        "logits-not-finite",
        fires={
            "NaN": lambda: (with_value(NAN, 4, 5), ids(4)),
            "NaN in an ignored row": lambda: (with_value(NAN, 3, 5), torch.tensor([-100, 1, 2])),
            "NaN in one pixel": lambda: (with_value(NAN, 2, 5, 4, 4), ids(2, 4, 4)),
            "a float16 overflow": lambda: (torch.full((4, 5), 7e4).half(), ids(4)),
            "-inf at the target": lambda: (with_value(-INF, 3, 5), torch.tensor([0, 1, 2])),
            "-inf with label smoothing": lambda: (
                with_value(-INF, 3, 5),
                torch.tensor([3, 1, 2]),
                {"label_smoothing": 0.1},
            ),
            "-inf with soft targets": lambda: (with_value(-INF, 4, 5), torch.randn(4, 5).softmax(1)),
            "unbatched": lambda: (with_value(INF, 5), torch.tensor(3)),
        },
        silent={
            "-inf at other classes": lambda: (with_value(-INF, 3, 5), torch.tensor([3, 1, 2])),
            "-inf at the class of an ignored row": lambda: (
                with_value(-INF, 3, 5),
                torch.tensor([0, 1, 2]),
                {"ignore_index": 0},
            ),
            "-inf with label smoothing in an ignored row": lambda: (
                with_value(-INF, 3, 5),
                torch.tensor([-100, 1, 2]),
                {"label_smoothing": 0.1},
            ),
            "large scores": lambda: (1e30 * torch.randn(4, 5), ids(4)),
            "NaN through ignored targets alone": lambda: (scores(4, 5), torch.full((4,), -100)),
            "NaN in the soft targets": lambda: (scores(4, 5), with_value(NAN, 4, 5)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
    ),
    Spec(
        "logits-extra-dim",
        fires={
            "a global pooling's (N, C, 1, 1)": lambda: (nn.AdaptiveAvgPool2d(1)(scores(4, 5, 6, 6)), ids(4)),
            "a one-dimensional pooling's (N, C, 1)": lambda: (nn.AdaptiveMaxPool1d(1)(scores(4, 5, 6)), ids(4)),
            "(N, 1, C)": lambda: (scores(4, 1, 5), ids(4)),
            "(1, N, C)": lambda: (scores(1, 4, 5), ids(4)),
            "a depth of 1": lambda: (scores(2, 5, 1, 4, 4), ids(2, 4, 4)),
            "uint8 ids beside": lambda: (scores(4, 5, 1, 1), ids(4).byte()),
        },
        silent={
            "images of one pixel": lambda: (scores(4, 5, 1, 1), ids(4, 1, 1)),
            "a batch of one": lambda: (scores(1, 5, 4), ids(1, 4)),
            "one output per sample": lambda: (scores(4, 1), torch.zeros(4, dtype=torch.int64)),
            "an extra dimension on the target": lambda: (scores(4, 5), ids(4, 1)),
            "scores per step": lambda: (scores(4, 7, 5), ids(4)),
        },
    ),
    Spec(
        "logits-missing-batch-dim",
        fires={
            "an image without a batch": lambda: (scores(3, 8, 8), ids(8, 8, classes=3)),
            "squeeze() at one sample": lambda: (scores(1, 5).squeeze(), ids(1)),
            "squeeze() with label smoothing": lambda: (scores(1, 5).squeeze(), ids(1), {"label_smoothing": 0.1}),
            "an image": lambda: (scores(5, 4, 4), ids(1, 4, 4)),
            "a leftover [0]": lambda: (scores(4, 5)[0], ids(4)),
            "a leftover [0] per pixel": lambda: (scores(6, 5, 8, 8)[0], ids(6, 8, 8)),
            "int32 labels beside": lambda: (scores(5), ids(1).int()),
        },
        silent={
            "unbatched": lambda: (scores(5), torch.tensor(3)),
            "unbatched class probabilities": lambda: (scores(5), torch.randn(5).softmax(0)),
            "one score per label": lambda: (scores(4), ids(4, classes=2).float()),
            "a 0-d label": lambda: (scores(1, 5), torch.tensor(3)),
            "a shorter batch of labels": lambda: (scores(4, 5), ids(3)),
            "ids, not scores": lambda: (ids(4), ids(4)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
    ),
    Spec(
        "half-reduction-overflow",
        fires={
            "a mean over more targets than float16 counts": lambda: (half(70_000, 2), ids(70_000, classes=2)),
            "a mean whose sum overflows": lambda: (half(40_000, 10), ids(40_000, classes=10)),
            "pixels": lambda: (half(1, 5, 300, 300), ids(1, 300, 300)),
            "a sum": lambda: (half(40_000, 16), ids(40_000, classes=16), {"reduction": "sum"}),
            "class probabilities": lambda: (half(200_000, 2), half(200_000, 2).softmax(1)),
            "class weights": lambda: (
                half(70_000, 2),
                ids(70_000, classes=2),
                {"weight": torch.tensor([3.0, 2.0], dtype=torch.float16)},
            ),
        },
        silent={
            "float32": lambda: (torch.randn(70_000, 2), ids(70_000, classes=2)),
            "bfloat16": lambda: (torch.randn(70_000, 2).bfloat16(), ids(70_000, classes=2)),
            "no reduction": lambda: (half(70_000, 2), ids(70_000, classes=2), {"reduction": "none"}),
            "a small batch": lambda: (half(400, 10), ids(400, classes=10)),
            "most targets ignored": lambda: (half(70_000, 2), torch.where(torch.arange(70_000) < 60_000, -100, 1)),
            "light class weights": lambda: (
                half(70_000, 2),
                ids(70_000, classes=2),
                {"weight": torch.tensor([0.1, 0.2], dtype=torch.float16)},
            ),
            "a sum of small losses": lambda: (
                torch.tensor([9.0, 0]).half().repeat(70_000, 1),
                torch.zeros(70_000, dtype=torch.int64),
                {"reduction": "sum"},
            ),
            "scores beyond float16": lambda: (with_value(INF, 70_000, 2, dtype=torch.float16), ids(70_000, classes=2)),
        },
    ),
)
