"""SCE310, SCE311 and SCE313."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.catalogue.ingredients import ids, per_pixel, per_token, scores, soft
from tests.catalogue.spec import Spec

SPECS = (
    Spec(
        "binary-logits",
        fires={
            "labels in a column": lambda: (scores(4), torch.tensor([[1.0], [0.0], [1.0], [1.0]])),
            "float labels, which native accepts": lambda: (scores(4), torch.tensor([1.0, 0.0, 1.0, 0.0])),
            "a squeezed output": lambda: (
                nn.Linear(8, 1)(torch.randn(6, 8)).squeeze(1),
                torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0]),
            ),
            "integer labels": lambda: (scores(4), torch.tensor([1, 0, 1, 0])),
            "booleans": lambda: (scores(4), torch.tensor([True, False, True, True])),
            "no positive": lambda: (scores(4), torch.zeros(4)),
            "class ids of one score each": lambda: (scores(6), torch.tensor([0, 3, 1, 2, 3, 0])),
            "class ids as floats": lambda: (scores(6), torch.tensor([0.0, 3.0, 1.0, 2.0, 3.0, 0.0])),
        },
        silent={
            "an unbatched call": lambda: (scores(5), torch.tensor(3)),
            "an unbatched call with a soft target": lambda: (scores(5), soft(5, dim=0)),
            "an unbatched call with a one-hot target": lambda: (scores(3), torch.tensor([0.0, 1.0, 0.0])),
            "two outputs": lambda: (scores(4, 2), torch.tensor([1, 0, 1, 0])),
            "one sample": lambda: (scores(1), torch.ones(1)),
            "real numbers": lambda: (scores(4), torch.randn(4)),
            "soft targets with an ignore_index": lambda: (scores(4), soft(4, dim=0), {"ignore_index": 0}),
            "infinite values": lambda: (scores(3), torch.tensor([float("inf"), 0.0, 1.0])),
        },
        mended=lambda: (scores(4, 2), torch.tensor([1, 0, 1, 0])),
    ),
    Spec(
        "arguments-swapped",
        fires={
            "ids": lambda: (ids(4), nn.Linear(8, 5)(torch.randn(4, 8))),
            "ids, no graph": lambda: (ids(4), torch.randn(4, 5)),
            "int32 ids": lambda: (ids(4).int(), scores(4, 5)),
            "ids as floats": lambda: (ids(4).float(), scores(4, 5)),
            "a column of ids": lambda: (ids(4, 1), scores(4, 5)),
            "a mask": lambda: (ids(2, 4, 6), per_pixel(2, 3, 4, 6)),
            "one label": lambda: (torch.tensor(3), scores(5)),
            "soft targets": lambda: (F.one_hot(ids(4), 5).float(), scores(4, 5)),
        },
        silent={
            "in order": lambda: (scores(4, 5), ids(4)),
            "soft targets": lambda: (scores(4, 5), soft(4, 5)),
            "probabilities and soft targets": lambda: (scores(4, 5).softmax(1), soft(4, 5)),
            "predicted ids and a one-hot target": lambda: (ids(4), F.one_hot(ids(4), 5).float()),
            "integer scores": lambda: (torch.randint(9, (4, 5)), ids(4)),
            "predicted ids": lambda: (scores(4, 5).argmax(1), ids(4)),
            "a teacher's scores": lambda: (scores(4, 5), torch.randn(4, 5)),
        },
    ),
    Spec(
        "wrong-class-count",
        fires={
            "a hidden width": lambda: (nn.Linear(8, 64)(torch.randn(6, 8)), 900 + ids(6)),
            "a hidden width, per token": lambda: (scores(2, 128, 7), 128 + ids(2, 7)),
            "a stale count in a view": lambda: (per_token(2, 6, 10).view(-1, 5), ids(2 * 6, classes=10)),
            "a stale count in a view, int32 ids": lambda: (
                per_token(2, 6, 10).view(-1, 5),
                ids(2 * 6, classes=10).int(),
            ),
            "a stale count, no graph": lambda: (torch.randn(24, 5), torch.tensor([9, 1, 2, 8, 9, 0, 3, 7, 5, 6, 1, 9])),
        },
        silent={
            "as many classes as a hidden width": lambda: (scores(6, 64), ids(6, classes=64)),
            "a head that is one output short": lambda: (scores(6, 4), torch.tensor([0, 1, 2, 3, 4, 0])),
            "a few labels out of range": lambda: (scores(6, 64), torch.tensor([0, 1, 2, 3, 64, 70])),
            "a view of the right count": lambda: (per_token(2, 6, 10).view(-1, 10), ids(12, classes=10)),
            "a void id": lambda: (scores(6, 64), torch.tensor([0, 1, -1, -1, -1, -1])),
            "a ragged batch": lambda: (scores(32, 5), ids(17)),
        },
        mended=lambda: (scores(6, 905), 900 + ids(6)),
    ),
)
