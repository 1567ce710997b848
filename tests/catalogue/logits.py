"""SCE105 to SCE112."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from tests.catalogue.spec import Spec

INF, NAN = float("inf"), float("nan")


class Output(NamedTuple):
    logits: torch.Tensor
    hidden: torch.Tensor


@dataclass
class ModelOutput:
    loss: torch.Tensor | None
    logits: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] = ()


def scores(*shape, **options):
    return torch.randn(*shape, requires_grad=True, **options)


def ids(*shape, classes=5):
    return torch.randint(classes, shape)


def with_value(value, *shape, dtype=torch.float32):
    """Scores of which the very first one is `value`."""
    filled = torch.randn(*shape).to(dtype)
    filled.view(-1)[0] = value
    return filled


def half(*shape):
    return torch.randn(*shape).half()


SPECS = (
    Spec(
        "unsupported-layout",
        fires={
            "sparse scores": lambda: (scores(4, 5).to_sparse(), ids(4)),
            "sparse ids": lambda: (scores(4, 5), ids(4).to_sparse()),
            "jagged scores and ids": lambda: (
                torch.nested.nested_tensor([torch.randn(2, 5), torch.randn(3, 5)], layout=torch.jagged),
                torch.nested.nested_tensor([ids(2), ids(3)], layout=torch.jagged),
            ),
        },
        silent={
            "sparse class probabilities": lambda: (scores(4, 5), torch.randn(4, 5).softmax(1).to_sparse()),
            "dense": lambda: (scores(4, 5), ids(4)),
            "another mistake": lambda: (scores(4, 5), ids(3)),
        },
        beside={},
    ),
    Spec(
        "class-ids-as-logits",
        fires={
            "argmax": lambda: (scores(6, 5).argmax(1), ids(6)),
            "argmax, keepdim": lambda: (scores(6, 5).argmax(1, keepdim=True), ids(6)),
            "argmax per pixel": lambda: (scores(2, 5, 4, 4).argmax(1), ids(2, 4, 4)),
            "ids of half the bytes": lambda: (scores(6, 5).argmax(1).int(), ids(6)),
            "both cast to float": lambda: (torch.tensor([2.0, 0, 4, 1]), torch.tensor([2.0, 1, 4, 1])),
            "made to require grad": lambda: (torch.tensor([2.0, 0, 4, 1], requires_grad=True), ids(4)),
        },
        silent={
            "scores": lambda: (scores(6, 5), ids(6)),
            "integer scores": lambda: (torch.tensor([[1, 5, 2], [4, 0, 0]]), torch.tensor([1, 0])),
            "integer scores against class probabilities": lambda: (
                torch.tensor([[1, 5, 2], [4, 0, 0]]),
                torch.tensor([[0.0, 1, 0], [1, 0, 0]]),
            ),
            "one score per label": lambda: (scores(6), ids(6, classes=2)),
            "whole scores, unbatched": lambda: (torch.tensor([2.0, 0, 1]), torch.tensor([0.0, 1, 0])),
        },
        mended=lambda: (scores(6, 5), ids(6)),
    ),
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
        "output-not-tensor",
        fires={
            "a dict": lambda: ({"aux": scores(2, 5, 8, 8), "out": scores(2, 5, 8, 8)}, ids(2, 8, 8)),
            "a tuple of scores and state": lambda: ((scores(4, 5), scores(1, 4, 8)), ids(4)),
            "an output object": lambda: (ModelOutput(None, scores(4, 5), (scores(4, 8),)), ids(4)),
            "a named tuple": lambda: (Output(scores(4, 5), scores(4, 8)), ids(4)),
            "a tensor deep inside": lambda: (OrderedDict(head=(scores(4, 5), None)), ids(4)),
            "a list of single samples": lambda: ([scores(5) for _ in range(4)], ids(4)),
            "a NumPy array": lambda: (torch.randn(4, 5).numpy(), ids(4)),
            "None": lambda: (None, ids(4)),
            "the model itself": lambda: (nn.Linear(6, 5), ids(4)),
        },
        silent={
            "a tensor": lambda: (scores(4, 5), ids(4)),
            "a parameter": lambda: (nn.Parameter(torch.randn(4, 5)), ids(4)),
            "a target that is no tensor": lambda: (scores(4, 5), [0, 1, 2, 3]),
            "a tensor of the wrong shape": lambda: (scores(4, 5, 1), ids(4)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
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
        "logits-wrong-dtype",
        fires={
            "int64": lambda: (torch.randint(-9, 9, (4, 5)), ids(4)),
            "a comparison": lambda: (torch.randn(4, 5) > 0, ids(4)),
            "complex numbers": lambda: (torch.randn(4, 5, dtype=torch.complex64), ids(4)),
            "uint8 per pixel": lambda: (torch.randint(256, (2, 5, 4, 4), dtype=torch.uint8), ids(2, 4, 4)),
            "class probabilities beside": lambda: (torch.randint(-9, 9, (4, 5)), torch.randn(4, 5).softmax(1)),
            "eight bits of floating point": lambda: (torch.randn(4, 5).to(torch.float8_e4m3fn), ids(4)),
            "unbatched": lambda: (torch.randint(-9, 9, (5,)), torch.tensor(3)),
        },
        silent={
            "bfloat16": lambda: (scores(4, 5, dtype=torch.bfloat16), ids(4)),
            "whole numbers as floats": lambda: (torch.randint(-9, 9, (4, 5)).float(), ids(4)),
            "predicted ids": lambda: (scores(6, 5).argmax(1), ids(6)),
            "swapped arguments": lambda: (ids(4), scores(4, 5)),
            "int32 labels": lambda: (scores(4, 5), ids(4).int()),
        },
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
