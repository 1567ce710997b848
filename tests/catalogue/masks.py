"""SCE205 and SCE212."""

import torch

from tests.catalogue.ingredients import (
    colored,
    ids,
    one_hot,
    one_of,
    per_pixel,
    scores,
    soft,
)
from tests.catalogue.spec import Spec

SPECS = (
    Spec(
        "color-mask-target",
        fires={
            "channels first": lambda: (per_pixel(2, 3, 4, 6), colored(2, 4, 6)),
            "channels last": lambda: (per_pixel(2, 3, 4, 6), colored(2, 4, 6).movedim(1, -1).byte()),
            "RGBA": lambda: (per_pixel(2, 3, 4, 6), torch.randint(200, 256, (2, 4, 6, 4))),
            "scaled to [0, 1]": lambda: (per_pixel(2, 3, 4, 6), torch.rand(2, 3, 4, 6)),
            "a palette of two shades per channel": lambda: (
                per_pixel(2, 3, 4, 6),
                torch.tensor([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]])[ids(2, 4, 6, classes=4)],
            ),
        },
        silent={
            "class ids": lambda: (per_pixel(2, 3, 4, 6), ids(2, 4, 6)),
            "one-hot over three classes": lambda: (scores(2, 3, 4, 6), one_hot(2, 4, 6, classes=3)),
            "soft targets over three classes": lambda: (scores(2, 3, 4, 6), soft(2, 3, 4, 6)),
            "a mask with a channel": lambda: (per_pixel(2, 3, 4, 6), ids(2, 1, 4, 6)),
            "gray values": lambda: (per_pixel(2, 3, 4, 6), 50 * ids(2, 4, 6)),
            "a column of labels": lambda: (scores(4, 5), ids(4, 3)),
        },
        mended=lambda: (per_pixel(2, 3, 4, 6), ids(2, 4, 6)),
        beside={
            "a gray mask read as RGB": lambda: (per_pixel(2, 3, 4, 6), ids(2, 1, 4, 6).expand(2, 3, 4, 6)),
        },
    ),
    Spec(
        "mask-not-class-ids",
        fires={
            "ids divided by 255": lambda: (per_pixel(2, 3, 4, 4), ids(2, 4, 4).float() / 255),
            "interpolated between ids": lambda: (
                per_pixel(2, 3, 8, 8),
                torch.where(torch.rand(2, 8, 8) < 0.2, 1.5, ids(2, 8, 8).float()),
            ),
            "0 and 255": lambda: (scores(1, 2, 4, 4), one_of([0, 255], 1, 4, 4)),
            "0 and 255 in uint8": lambda: (scores(1, 2, 4, 4), one_of([0, 255], 1, 4, 4).byte()),
            "0 and 255 as floats": lambda: (scores(1, 2, 4, 4), one_of([0, 255], 1, 4, 4).float()),
            "a palette": lambda: (scores(2, 4, 4, 4), one_of([0, 85, 170, 255], 2, 4, 4)),
            "the shades of interpolation": lambda: (scores(1, 2, 4, 4), one_of([0, 64, 127, 191, 255], 1, 4, 4)),
            "volumes": lambda: (scores(1, 3, 4, 4, 4), one_of([0, 128, 255], 1, 4, 4, 4)),
        },
        silent={
            "a depth map": lambda: (per_pixel(2, 3, 8, 8), torch.rand(2, 8, 8) * 3),
            "ids": lambda: (scores(1, 2, 4, 4), ids(1, 4, 4, classes=2)),
            "ids divided by 255, with NaN among them": lambda: (
                per_pixel(2, 3, 4, 4),
                torch.where(torch.eye(4, dtype=torch.bool), torch.nan, ids(2, 4, 4) / 255),
            ),
            "ids and a void id": lambda: (scores(1, 3, 4, 4), one_of([0, 1, 2, 255], 1, 4, 4)),
            "one id past the head": lambda: (scores(1, 3, 4, 4), one_of([0, 1, 2, 3], 1, 4, 4)),
            "widely spaced token ids": lambda: (scores(4, 50), torch.tensor([4, 60, 120, 180])),
            "256 classes": lambda: (scores(1, 256, 4, 4), one_of([0, 255], 1, 4, 4)),
        },
        mended=lambda: (scores(1, 2, 4, 4), ids(1, 4, 4, classes=2)),
    ),
)
