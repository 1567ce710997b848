"""SCE101 to SCE104."""

import torch
from torch import nn

from tests.catalogue.ingredients import ids, scores
from tests.catalogue.spec import Spec

SPECS = (
    Spec(
        "softmax-applied",
        fires={
            "rounded to half precision and back": lambda: (torch.randn(12, 5).softmax(1).bfloat16().float(), ids(12)),
            "a softmax in the graph": lambda: (scores(4, 5).softmax(1), ids(4)),
            "behind views, casts and clamps": lambda: (
                nn.Softmax(dim=2)(scores(2, 3, 5)).double().clamp(1e-6, 1).view(6, 5),
                ids(6),
            ),
            "joined from several": lambda: (torch.cat([scores(2, 5).softmax(1), scores(2, 5).softmax(1)]), ids(4)),
            "behind a selection": lambda: (scores(4, 7).softmax(1)[:, :5], ids(4)),
            "over the wrong dimension": lambda: (scores(4, 5).softmax(0), ids(4)),
            "values alone": lambda: (torch.randn(4, 5).softmax(1), ids(4)),
            "values of half precision": lambda: (torch.randn(4, 5).softmax(1).bfloat16(), ids(4)),
            "per pixel": lambda: (torch.randn(2, 5, 4, 4).softmax(1), ids(2, 4, 4)),
            "soft targets": lambda: (torch.randn(4, 5).softmax(1), torch.randn(4, 5).softmax(1)),
        },
        silent={
            "raw scores": lambda: (scores(4, 5), ids(4)),
            "beside raw scores": lambda: (torch.cat([scores(4, 3).softmax(1), scores(4, 2)], 1), ids(4)),
            "an attention inside the model": lambda: (scores(4, 6).softmax(1) @ scores(6, 5), ids(4)),
            "a gate": lambda: (scores(4, 5).softmax(1) * scores(4, 5), ids(4)),
            "a head with a constant bias of 1 / C": lambda: (torch.full((4, 5), 0.2), ids(4)),
            "the logarithm of averaged probabilities": lambda: (
                torch.stack([scores(4, 5).softmax(1), scores(4, 5).softmax(1)]).mean(0).log(),
                ids(4),
            ),
            "scores in [0, 1]": lambda: (torch.rand(4, 5), ids(4)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
    ),
    Spec(
        "log-softmax-applied",
        fires={
            "nn.LogSoftmax": lambda: (nn.LogSoftmax(dim=1)(scores(4, 5)), ids(4)),
            "the logarithm of a softmax": lambda: (scores(4, 5).softmax(1).log(), ids(4)),
            "the logarithm of a clamped softmax": lambda: (scores(4, 5).softmax(1).clamp(min=1e-8).log(), ids(4)),
            "per token, behind a view": lambda: (scores(2, 3, 5).log_softmax(2).view(6, 5), ids(6)),
            "per pixel, cast from half precision": lambda: (
                scores(2, 5, 4, 4, dtype=torch.bfloat16).log_softmax(1).float(),
                ids(2, 4, 4),
            ),
            "unbatched": lambda: (scores(5).log_softmax(0), torch.tensor(3)),
            "soft targets": lambda: (scores(4, 5).log_softmax(1), torch.rand(4, 5).softmax(1)),
        },
        silent={
            "raw scores": lambda: (scores(4, 5), ids(4)),
            "a softmax": lambda: (scores(4, 5).softmax(1), ids(4)),
            "the logarithm of sigmoids": lambda: (scores(4, 5).sigmoid().log(), ids(4)),
            "a log_softmax that is mixed with another": lambda: (
                scores(4, 5).log_softmax(1) + scores(4, 5).log_softmax(1),
                ids(4),
            ),
            "negative scores": lambda: (-torch.rand(4, 5) - 1, ids(4)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
        beside={
            "values alone": lambda: (torch.randn(4, 5).log_softmax(1), ids(4)),
            "values of half precision": lambda: (torch.randn(4, 5).log_softmax(1).bfloat16(), ids(4)),
            "the logarithm of averaged probabilities": lambda: (
                torch.stack([scores(4, 5).softmax(1), scores(4, 5).softmax(1)]).mean(0).log(),
                ids(4),
            ),
        },
    ),
    Spec(
        "sigmoid-applied",
        fires={
            "nn.Sigmoid": lambda: (nn.Sigmoid()(scores(4, 5)), ids(4)),
            "behind a permute and a cast": lambda: (scores(2, 3, 5).sigmoid().permute(0, 2, 1).double(), ids(2, 3)),
            "behind a clamp": lambda: (scores(4, 5).sigmoid().clamp(1e-6, 1 - 1e-6), ids(4)),
            "per voxel": lambda: (scores(2, 5, 2, 2, 2).sigmoid(), ids(2, 2, 2, 2)),
            "half precision": lambda: (scores(4, 5, dtype=torch.bfloat16).sigmoid(), ids(4)),
            "soft targets": lambda: (scores(4, 5).sigmoid(), torch.randn(4, 5).softmax(1)),
        },
        silent={
            "raw scores": lambda: (scores(4, 5), ids(4)),
            "a gate": lambda: (scores(4, 5).sigmoid() * scores(4, 5), ids(4)),
            "a sigmoid inside the model": lambda: (nn.Linear(6, 5)(scores(4, 6).sigmoid()), ids(4)),
            "a scaled sigmoid": lambda: (10 * scores(4, 5).sigmoid(), ids(4)),
            "a softmax": lambda: (torch.randn(4, 5).softmax(1), ids(4)),
            "a tanh": lambda: (scores(4, 5).tanh(), ids(4)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
        beside={
            "values alone": lambda: (torch.randn(4, 5).sigmoid(), ids(4)),
            "cosine similarities of non-negative embeddings": lambda: (
                nn.functional.normalize(torch.rand(4, 8)) @ nn.functional.normalize(torch.rand(8, 5), dim=0),
                ids(4),
            ),
        },
    ),
    Spec(
        "relu-applied",
        fires={
            "a last nn.ReLU": lambda: (nn.Sequential(nn.Linear(6, 5), nn.ReLU())(torch.randn(4, 6)), ids(4)),
            "per token, behind a view": lambda: (scores(2, 3, 5).relu().view(6, 5), ids(6)),
            "behind a squeeze of the pooled size": lambda: (scores(4, 5, 1, 1).relu().squeeze((2, 3)), ids(4)),
            "per pixel": lambda: (nn.ReLU()(nn.Conv2d(3, 5, 1)(torch.randn(2, 3, 4, 4))), ids(2, 4, 4)),
            "half precision": lambda: (scores(4, 5, dtype=torch.float16).relu(), ids(4)),
            "unbatched": lambda: (scores(5).relu(), torch.tensor(3)),
        },
        silent={
            "raw scores": lambda: (scores(4, 5), ids(4)),
            "a ReLU before a global pooling": lambda: (scores(4, 5, 6, 6).relu().mean((2, 3)), ids(4)),
            "a ReLU inside the model": lambda: (nn.Linear(6, 5)(scores(4, 6).relu()), ids(4)),
            "a zero-initialised head": lambda: (torch.zeros(4, 5), ids(4)),
            "one-hot scores": lambda: (torch.eye(5)[:, [1, 0, 2, 4, 3]], ids(5)),
            "scores above zero": lambda: (torch.rand(4, 5) + 1, ids(4)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
        beside={
            "values alone": lambda: (torch.randn(4, 5).relu(), ids(4)),
            "values alone, per pixel": lambda: (torch.randn(2, 5, 4, 4).relu(), ids(2, 4, 4)),
        },
    ),
)
