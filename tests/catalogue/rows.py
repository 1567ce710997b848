"""SCE300 to SCE302 and SCE312."""

import torch
from torch import nn

from tests.catalogue.ingredients import folded, ids, per_pixel, per_token, scores, with_ignored
from tests.catalogue.spec import Spec

SPECS = (
    Spec(
        "contract-broken",
        fires={
            "a loss": lambda: (scores(4, 5).mean(), ids(4)),
            "shapes that nothing explains": lambda: (scores(2, 3, 5, 6, 7), ids(11, 13)),
            "a 0-d input": lambda: (torch.tensor(0.5), torch.tensor(0)),
            "a complex target": lambda: (scores(4, 5), torch.zeros(4, dtype=torch.complex64)),
        },
        silent={
            "class ids": lambda: (scores(4, 5), ids(4)),
            "an unbatched call": lambda: (scores(5), torch.tensor(1)),
            "soft targets in five dimensions": lambda: (scores(2, 5, 2, 3, 4), torch.randn(2, 5, 2, 3, 4).softmax(1)),
            "a stray dimension": lambda: (scores(4, 5), ids(4, 1)),
            "a label out of range": lambda: (scores(4, 5), torch.tensor([0, 5, 1, 2])),
        },
        mended=lambda: (scores(2, 3, 5, 6, 7), ids(2, 5, 6, 7, classes=3)),
    ),
    Spec(
        "ragged-batch",
        fires={
            "an empty target": lambda: (scores(4, 5), ids(0)),
            "fewer targets": lambda: (nn.Linear(8, 5)(torch.randn(32, 8)), ids(17)),
            "more targets": lambda: (scores(7, 5), ids(32)),
            "counts that differ by one": lambda: (scores(32, 5), ids(31)),
            "masks": lambda: (per_pixel(5, 3, 4, 6), ids(3, 4, 6)),
            "a column of targets": lambda: (scores(32, 5), ids(17, 1)),
        },
        silent={
            "equal counts": lambda: (scores(32, 5), ids(32)),
            "one label for the batch": lambda: (scores(4, 5), torch.tensor(1)),
            "labels of every step": lambda: (scores(8, 5), ids(8, 7)),
            "sequences of different lengths": lambda: (scores(8, 5, 7), ids(8, 6)),
            "masks of another size": lambda: (per_pixel(2, 3, 4, 4), ids(2, 8, 8)),
        },
        mended=lambda: (scores(17, 5), ids(17)),
        beside={
            "half as many targets": lambda: (scores(32, 5), ids(16)),
            "soft targets": lambda: (scores(32, 5), torch.randn(17, 5).softmax(1)),
            "steps of sequences": lambda: (scores(6, 5, 7), ids(4, 7)),
        },
    ),
    Spec(
        "features-folded-into-batch",
        fires={
            "a view that is too short": lambda: (folded(4, 16, 8, 256), ids(4)),
            "a view, an activation and two layers": lambda: (
                nn.Sequential(nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5))(
                    nn.Conv2d(3, 16, 1)(torch.randn(6, 3, 4, 4)).view(-1, 64)
                ),
                ids(6),
            ),
            "a batch of one": lambda: (folded(1, 4, 8, 64), ids(1)),
            "no graph": lambda: (torch.randn(28, 5), ids(4)),
            "samples joined by a view": lambda: (
                nn.Linear(128, 5)(nn.Conv2d(3, 4, 1)(torch.randn(8, 3, 4, 4)).view(-1, 128)),
                ids(8),
            ),
        },
        silent={
            "a flattened batch": lambda: (nn.Linear(64, 5)(torch.randn(4, 4, 4, 4).flatten(1)), ids(4)),
            "both sides flattened": lambda: (per_token(4, 7).view(-1, 5), ids(28)),
            "views of the samples, concatenated": lambda: (torch.cat([scores(8, 5), scores(8, 5)]), ids(8)),
            "flattened tokens against one label each": lambda: (per_token(4, 7).view(-1, 5), ids(4)),
            "a ragged batch": lambda: (scores(32, 5), ids(17)),
            "tokens against rows": lambda: (scores(4, 5), with_ignored(ids(8))),
        },
        mended=lambda: (nn.Linear(1024, 5)(torch.randn(4, 16, 8, 8).flatten(1)), ids(4)),
        beside={
            "as many rows as views would make": lambda: (torch.randn(32, 5), ids(16)),
        },
    ),
    Spec(
        "batch-duplicated",
        fires={
            "a repeated batch": lambda: (scores(8, 5).repeat(3, 1), ids(8)),
            "neighbouring copies": lambda: (scores(8, 5).repeat_interleave(4, 0), ids(8)),
            "two views, concatenated": lambda: (torch.cat([scores(8, 5), scores(8, 5)]), ids(8)),
            "two views through one network": lambda: (
                nn.Linear(8, 5)(torch.cat([scores(8, 8), scores(8, 8)])),
                ids(8),
            ),
            "a repeated batch against soft targets": lambda: (
                scores(8, 5).repeat(2, 1),
                torch.randn(8, 5).softmax(1),
            ),
            "neighbouring copies against a column": lambda: (scores(8, 5).repeat_interleave(2, 0), ids(8, 1)),
            "ten crops": lambda: (nn.Conv2d(3, 5, 4)(torch.randn(40, 3, 4, 4)).flatten(1), ids(4)),
        },
        silent={
            "repeated on both sides": lambda: (scores(8, 5).repeat(2, 1), ids(8).repeat(2)),
            "a view that is too short": lambda: (folded(4, 16, 8, 256), ids(4)),
            "flattened tokens": lambda: (per_token(4, 7).view(-1, 5), ids(4)),
            "a ragged batch": lambda: (scores(32, 5), ids(17)),
            "fewer rows than targets": lambda: (scores(8, 5), ids(16)),
            "equal rows by chance of nothing": lambda: (torch.zeros(12, 5), ids(4)),
        },
        mended=lambda: (torch.cat([scores(8, 5), scores(8, 5)]), ids(8).repeat(2)),
        beside={
            "twice as many rows, no graph": lambda: (torch.randn(32, 5), ids(16)),
        },
    ),
)
