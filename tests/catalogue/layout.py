"""SCE303 to SCE305 and SCE309."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.catalogue.ingredients import ids, per_pixel, per_step_of_lstm, per_token, scores, soft
from tests.catalogue.spec import Spec


def convolved():
    """(2, 5, 8, 8): the scores of 5 classes for every pixel."""
    return nn.Conv2d(3, 5, 1)(torch.randn(2, 3, 8, 8))


SPECS = (
    Spec(
        "view-instead-of-permute",
        fires={
            "maps cut into rows": lambda: (convolved().view(-1, 5), ids(128)),
            "maps cut into rows by reshape": lambda: (convolved().reshape(-1, 5), ids(128)),
            "steps and classes exchanged by a view": lambda: (per_token(2, 7).view(2, 5, 7), ids(2, 7)),
        },
        silent={
            "a convolution of the whole map": lambda: (nn.Conv2d(3, 5, 8)(torch.randn(4, 3, 8, 8)).view(-1, 5), ids(4)),
            "one step per sample": lambda: (per_token(4, 1).view(4, 5, 1), ids(4, 1)),
            "moved, then flattened": lambda: (convolved().movedim(1, -1).reshape(-1, 5), ids(128)),
            "steps and classes transposed": lambda: (per_token(2, 7).transpose(1, 2), ids(2, 7)),
            "rows of tokens": lambda: (per_token(2, 7).view(-1, 5), ids(14)),
            "pixels in a line": lambda: (convolved().flatten(2), ids(2, 64)),
            "several heads in one layer": lambda: (nn.Linear(8, 15)(torch.randn(4, 8)).view(-1, 5), ids(12)),
            "anchors of a detector": lambda: (
                nn.Conv2d(3, 15, 1)(torch.randn(2, 3, 8, 8)).view(2, 3, 5, 8, 8).permute(0, 1, 3, 4, 2).reshape(-1, 5),
                ids(384),
            ),
        },
        mended=lambda: (convolved().movedim(1, -1).reshape(-1, 5), ids(128)),
    ),
    Spec(
        "class-dim-last",
        fires={
            "per token": lambda: (per_token(2, 7), ids(2, 7)),
            "per token, no graph": lambda: (torch.randn(2, 7, 5), ids(2, 7)),
            "per pixel": lambda: (scores(2, 4, 6, 5), ids(2, 4, 6)),
            "per voxel": lambda: (scores(2, 3, 4, 6, 5), ids(2, 3, 4, 6)),
            "a batch of one": lambda: (per_token(1, 7), ids(1, 7)),
            "as many steps as classes": lambda: (per_token(2, 5), ids(2, 5)),
            "soft targets": lambda: (per_token(2, 7), soft(2, 7, 5, dim=2)),
            "a one-hot, as floats": lambda: (per_token(2, 7), F.one_hot(ids(2, 7), 5).float()),
            "ids as floats": lambda: (per_token(2, 7), ids(2, 7).float()),
            "the other sizes differ": lambda: (per_token(2, 7, 50), 20 + ids(2, 11)),
        },
        silent={
            "classes in dim 1": lambda: (scores(2, 5, 7), ids(2, 7)),
            "classes moved to dim 1": lambda: (per_token(2, 5).movedim(-1, 1), ids(2, 5)),
            "as many classes as steps": lambda: (nn.Conv1d(3, 5, 1)(torch.randn(2, 3, 5)), ids(2, 5)),
            "as many classes as steps, int32 ids": lambda: (
                nn.Conv1d(3, 5, 1)(torch.randn(2, 3, 5)),
                ids(2, 5).int(),
            ),
            "as many classes as rows and columns, a label out of range": lambda: (scores(2, 5, 5, 5), 1 + ids(2, 5, 5)),
            "as many outputs as channels, of images": lambda: (
                nn.Linear(8, 4)(torch.randn(2, 4, 3, 8)),
                ids(2, 3, 4, classes=4),
            ),
            "soft targets": lambda: (scores(2, 5, 7), soft(2, 5, 7)),
            "targets that sum to 1 in both directions": lambda: (scores(2, 5, 5), torch.eye(5).expand(2, 5, 5)),
            "one step": lambda: (scores(2, 5, 1), torch.ones(2, 5, 1)),
            "rows": lambda: (scores(7, 5), ids(7)),
            "time first": lambda: (per_step_of_lstm(7, 2), ids(2, 7)),
        },
        mended=lambda: (scores(2, 5, 7), ids(2, 7)),
        beside={
            "ids that fit neither": lambda: (per_token(2, 7), 10 + ids(2, 7)),
        },
    ),
    Spec(
        "one-side-flattened",
        fires={
            "rows of scores": lambda: (per_token(2, 7).view(-1, 5), ids(2, 7)),
            "rows of scores, of pixels": lambda: (scores(2 * 4 * 6, 5), ids(2, 4, 6)),
            "a row of ids": lambda: (per_token(2, 7), ids(14)),
            "a row of ids, of pixels": lambda: (per_pixel(2, 3, 4, 6), ids(2 * 4 * 6)),
            "int32 ids": lambda: (per_token(2, 7).view(-1, 5), ids(2, 7).int()),
            "ignored labels among them": lambda: (scores(4, 5), torch.tensor([[0, -100], [4, 1]])),
            "soft targets, per token": lambda: (per_token(2, 7).view(-1, 5), soft(2, 7, 5, dim=2)),
            "rows of soft targets": lambda: (per_token(2, 7), soft(14, 5)),
        },
        silent={
            "both sides flattened": lambda: (per_token(2, 7).view(-1, 5), ids(14)),
            "neither": lambda: (scores(2, 5, 7), ids(2, 7)),
            "classes last": lambda: (per_token(2, 7), ids(2, 7)),
            "one label per sample": lambda: (per_token(4, 7), ids(4)),
            "a column": lambda: (scores(14, 5), ids(14, 1)),
            "labels of every step": lambda: (scores(8, 5), ids(8, 7)),
            "soft targets": lambda: (scores(14, 5), soft(14, 5)),
        },
    ),
    Spec(
        "time-batch-swapped",
        fires={
            "the last step taken of the batch": lambda: (
                nn.LSTM(8, 6, batch_first=True)(torch.randn(4, 7, 8))[0][-1],
                ids(4),
            ),
            "an LSTM that has time first": lambda: (per_step_of_lstm(7, 2), ids(2, 7)),
            "no graph": lambda: (torch.randn(7, 2, 5), ids(2, 7)),
            "int32 ids": lambda: (per_step_of_lstm(7, 2), ids(2, 7).int()),
            "a target that has time first": lambda: (scores(2, 5, 7), ids(7, 2)),
            "ignored labels among them": lambda: (
                per_step_of_lstm(3, 2),
                torch.tensor([[0, 1, -100], [4, -100, -100]]),
            ),
        },
        mended=lambda: (nn.LSTM(8, 6, batch_first=True)(torch.randn(4, 7, 8))[0][:, -1], ids(4)),
        silent={
            "batch first": lambda: (per_step_of_lstm(7, 2).permute(1, 2, 0), ids(2, 7)),
            "time first on both sides": lambda: (per_step_of_lstm(7, 2), ids(7, 2)),
            "flattened": lambda: (per_step_of_lstm(7, 2).reshape(-1, 5), ids(14)),
            "the last step": lambda: (per_step_of_lstm(7, 2)[-1], ids(2)),
            "images": lambda: (per_pixel(2, 3, 4, 4), ids(4, 2, 4)),
            "another batch size": lambda: (scores(8, 5, 7), ids(6, 7)),
        },
        beside={
            "a batch of one": lambda: (per_step_of_lstm(7, 1), ids(1, 7)),
        },
    ),
    Spec(
        "spatial-size-mismatch",
        fires={
            "a strided network": lambda: (nn.Conv2d(3, 5, 3, stride=2)(torch.randn(2, 3, 16, 16)), ids(2, 16, 16)),
            "no padding": lambda: (nn.Conv2d(3, 5, 3)(torch.randn(2, 3, 16, 12)), ids(2, 16, 12)),
            "a volume": lambda: (nn.Conv3d(1, 5, 2)(torch.randn(2, 1, 4, 4, 4)), ids(2, 4, 4, 4)),
            "a smaller mask": lambda: (per_pixel(2, 3, 16, 16), ids(2, 4, 4)),
            "a mask with a channel": lambda: (per_pixel(2, 3, 4, 4), ids(2, 1, 8, 8)),
            "a mask of bytes": lambda: (per_pixel(1, 3, 4, 4), ids(1, 8, 8).byte()),
            "height and width exchanged": lambda: (per_pixel(2, 3, 4, 6), ids(2, 6, 4)),
        },
        silent={
            "equal sizes": lambda: (per_pixel(2, 3, 4, 6), ids(2, 4, 6)),
            "classes last": lambda: (scores(2, 4, 6, 5), ids(2, 4, 6)),
            "one label per image": lambda: (per_pixel(2, 3, 4, 6), ids(2)),
            "another batch size": lambda: (per_pixel(3, 3, 4, 6), ids(2, 4, 6)),
            "a colour image": lambda: (per_pixel(2, 3, 4, 6), torch.randint(5, 256, (2, 3, 4, 6))),
            "sequences": lambda: (scores(2, 5, 7), ids(2, 8)),
            "real numbers": lambda: (per_pixel(2, 3, 4, 4), torch.randn(2, 8, 8)),
        },
    ),
)
