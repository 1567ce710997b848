"""SCE101 to SCE104."""

import torch
from torch import nn

from tests.catalogue.spec import Spec


def scores(*shape, **options):
    return torch.randn(*shape, requires_grad=True, **options)


def ids(*shape, classes=5):
    return torch.randint(classes, shape)


SPECS = (
    Spec(
        "softmax-applied",
        fires={
            "a softmax in the graph": lambda: (scores(4, 5).softmax(1), ids(4)),
            "behind views, casts and clamps": lambda: (
                nn.Softmax(dim=2)(scores(2, 3, 5)).double().clamp(1e-6, 1).view(6, 5),
                ids(6),
            ),
            "behind a selection": lambda: (scores(4, 7).softmax(1)[:, :5], ids(4)),
            "over the wrong dimension": lambda: (scores(4, 5).softmax(0), ids(4)),
            "values alone": lambda: (torch.randn(4, 5).softmax(1), ids(4)),
            "values of half precision": lambda: (torch.randn(4, 5).softmax(1).bfloat16(), ids(4)),
            "per pixel": lambda: (torch.randn(2, 5, 4, 4).softmax(1), ids(2, 4, 4)),
            "soft targets": lambda: (torch.randn(4, 5).softmax(1), torch.randn(4, 5).softmax(1)),
        },
        silent={
            "raw scores": lambda: (scores(4, 5), ids(4)),
            "an attention inside the model": lambda: (scores(4, 6).softmax(1) @ scores(6, 5), ids(4)),
            "a gate": lambda: (scores(4, 5).softmax(1) * scores(4, 5), ids(4)),
            "the logarithm of averaged probabilities": lambda: (
                torch.stack([scores(4, 5).softmax(1), scores(4, 5).softmax(1)]).mean(0).log(),
                ids(4),
            ),
            "scores in [0, 1]": lambda: (torch.rand(4, 5), ids(4)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
    ),
)
