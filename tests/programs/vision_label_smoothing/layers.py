"""Residual blocks."""

from torch import nn


class ConvNormRelu(nn.Sequential):
    def __init__(self, before, after, stride=1):
        super().__init__(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.body = nn.Sequential(ConvNormRelu(before, after, stride), ConvNormRelu(after, after))
        self.shortcut = nn.Conv2d(before, after, 1, stride=stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.body(x) + self.shortcut(x))


def resnet(num_classes):
    """A residual network; what its hidden layers give is never negative, what its last one gives may be."""
    return nn.Sequential(
        ConvNormRelu(1, 8),
        Residual(8, 16, stride=2),
        Residual(16, 32, stride=2),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, num_classes),
    )
