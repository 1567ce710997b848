"""A residual network for rows of a table."""

from torch import nn


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        return x + self.layers(x)


def network(features, classes, width=32, depth=2):
    return nn.Sequential(
        nn.Linear(features, width), *(Residual(width) for _ in range(depth)), nn.Linear(width, classes)
    )
