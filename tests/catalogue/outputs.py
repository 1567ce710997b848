"""SCE105, SCE107, SCE109 and SCE113."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from tests.catalogue.ingredients import ids, scores
from tests.catalogue.spec import Spec


class Output(NamedTuple):
    logits: torch.Tensor
    hidden: torch.Tensor


@dataclass
class ModelOutput:
    loss: torch.Tensor | None
    logits: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] = ()


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
        "output-not-tensor",
        fires={
            "a model that was not called": lambda: (nn.Linear(4, 5), ids(4)),
            "values and indices": lambda: (scores(4, 5).max(1), ids(4)),
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
)
