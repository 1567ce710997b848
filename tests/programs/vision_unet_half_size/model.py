"""An encoder and a decoder with skip connections."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


def stage(before, after):
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1),
        nn.GroupNorm(4, after),
        nn.SiLU(),
    )


class SceneNet(nn.Module):
    def __init__(self, num_classes, widths=(8, 16, 32)):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], kernel_size=4, stride=2, padding=1)
        self.encoder = nn.ModuleList(stage(a, b) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(stage(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.classifier = nn.Conv2d(widths[0], num_classes, kernel_size=1)

    def forward(self, x):
        x = self.stem(x)
        skips = []
        for down in self.encoder:
            skips.append(x)
            x = down(F.max_pool2d(x, 2))
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            x = F.interpolate(x, size=skip.shape[2:], mode="nearest")
            x = up(torch.cat([x, skip], dim=1))
        return self.classifier(x)  # MISTAKE: spatial-size-mismatch
