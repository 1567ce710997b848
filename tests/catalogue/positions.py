"""SCE306 to SCE308."""

import torch
from torch import nn

from tests.catalogue.ingredients import ids, per_pixel, per_step_of_lstm, per_token, scores, with_ignored
from tests.catalogue.spec import Spec

SPECS = (
    Spec(
        "sequence-length-mismatch",
        fires={
            "one label too many": lambda: (scores(8, 5, 19), ids(8, 20)),
            "one step too many": lambda: (scores(8, 5, 20), ids(8, 19)),
            "classes last": lambda: (per_token(8, 12), ids(8, 9)),
            "classes last, a shift by one": lambda: (per_token(8, 20), ids(8, 19)),
            "classes last, no graph": lambda: (torch.randn(8, 20, 5), ids(8, 19)),
            "a batch of one": lambda: (scores(1, 5, 30), ids(1, 24)),
            "flattened tokens": lambda: (per_token(8, 19).view(-1, 5), ids(8, 20).view(-1)),
            "image tokens in front": lambda: (per_token(2, 88, 2000).view(-1, 2000), with_ignored(ids(2 * 64))),
            "flattened, no graph": lambda: (torch.randn(64 * 19, 5), ids(64 * 20)),
        },
        silent={
            "equal lengths": lambda: (scores(8, 5, 20), ids(8, 20)),
            "equal lengths, flattened": lambda: (per_token(8, 20).view(-1, 5), ids(8 * 20)),
            "classes last": lambda: (per_token(8, 20), ids(8, 20)),
            "one label per sequence": lambda: (per_token(8, 20), ids(8)),
            "another batch size": lambda: (scores(8, 5, 20), ids(7, 20)),
            "masks of another size": lambda: (per_pixel(2, 3, 4, 4), ids(2, 8, 8)),
            "a ragged batch": lambda: (scores(31, 5), ids(17)),
        },
        mended=lambda: (scores(8, 5, 20), ids(8, 20)),
    ),
    Spec(
        "logits-not-pooled",
        fires={
            "nodes of graphs": lambda: (scores(2003, 5), ids(40)),
            "a map": lambda: (per_pixel(4, 3, 7, 7), ids(4)),
            "a volume": lambda: (nn.Conv3d(1, 5, 1)(torch.randn(2, 1, 2, 3, 4)), ids(2)),
            "tokens": lambda: (per_token(4, 7), ids(4)),
            "tokens, a column of labels": lambda: (per_token(4, 7), ids(4, 1)),
            "time first": lambda: (per_step_of_lstm(7, 4), ids(4)),
            "a batch of one": lambda: (per_pixel(1, 3, 7, 7), ids(1)),
            "flattened tokens": lambda: (per_token(4, 7).view(-1, 5), ids(4)),
            "a convolution over time": lambda: (nn.Conv1d(3, 5, 1)(torch.randn(4, 3, 9)), ids(4)),
        },
        silent={
            "a pooled map": lambda: (per_pixel(4, 3, 7, 7).mean((2, 3)), ids(4)),
            "a mask": lambda: (per_pixel(4, 3, 7, 7), ids(4, 7, 7)),
            "a stray dimension": lambda: (per_pixel(4, 3, 1, 1), ids(4)),
            "the last step": lambda: (per_step_of_lstm(7, 4)[-1], ids(4)),
            "a shift by one": lambda: (per_token(8, 20), ids(8, 19)),
            "twice as many rows": lambda: (scores(8, 5), ids(4)),
            "both sides flattened": lambda: (per_token(4, 7).view(-1, 5), ids(28)),
        },
        mended=lambda: (per_pixel(4, 3, 7, 7).mean((2, 3)), ids(4)),
        beside={
            "flattened maps, no graph": lambda: (torch.randn(4 * 49, 5), ids(4)),
        },
    ),
    Spec(
        "target-not-pooled",
        fires={
            "labels of every token": lambda: (nn.Linear(8, 5)(torch.randn(8, 8)), ids(8, 32)),
            "labels of every pixel": lambda: (per_pixel(4, 3, 7, 7).mean((2, 3)), ids(4, 7, 7)),
            "flattened, with ignored labels": lambda: (scores(8, 5), with_ignored(ids(8, 12)).view(-1)),
            "a batch of one": lambda: (scores(1, 5), ids(1, 12)),
            "labels as floats": lambda: (scores(8, 5), ids(8, 32).float()),
        },
        silent={
            "one label per sample": lambda: (scores(8, 5), ids(8)),
            "a column": lambda: (scores(8, 5), ids(8, 1)),
            "scores of every step": lambda: (scores(8, 5, 12), ids(8, 12)),
            "both sides flattened": lambda: (per_token(4, 7).view(-1, 5), ids(28)),
            "one-hot": lambda: (scores(4, 5), torch.eye(5, dtype=torch.int64)[:4]),
            "several classes per row": lambda: (scores(2, 3), torch.tensor([[1, 1, 0], [0, 1, 1]])),
            "rows against a batch of sequences": lambda: (per_token(4, 7).view(-1, 5), ids(4, 7)),
            "real numbers": lambda: (scores(8, 5), torch.randn(8, 3)),
        },
        mended=lambda: (scores(8, 5, 32), ids(8, 32)),
        beside={
            "flattened, three per row": lambda: (scores(8, 5), ids(24)),
            "as many labels as classes": lambda: (scores(8, 5), ids(8, 5)),
        },
    ),
)
