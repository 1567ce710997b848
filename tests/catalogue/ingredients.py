"""What the examples are made of."""

import torch
import torch.nn.functional as F
from torch import nn

NAN, INF = float("nan"), float("inf")


def scores(*shape, **options):
    return torch.randn(*shape, requires_grad=True, **options)


def ids(*shape, classes=5):
    return torch.randint(classes, shape)


def with_value(value, *shape, dtype=torch.float32):
    """Scores of which the very first one is `value`."""
    filled = torch.randn(*shape).to(dtype)
    filled.view(-1)[0] = value
    return filled


def half(*shape):
    return torch.randn(*shape).half()


def one_hot(*shape, classes=5):
    """Class ids written as zeros and a one along a last dimension."""
    return F.one_hot(ids(*shape, classes=classes), classes)


def soft(*shape, dim=1):
    """Class probabilities."""
    return torch.randn(*shape).softmax(dim)


def per_pixel(*shape):
    """The scores of 5 classes for every pixel of images of this shape, by a convolution."""
    return nn.Conv2d(shape[1], 5, 1)(torch.randn(*shape))


def per_token(batch, steps, classes=5):
    """The scores for every step, classes last, by a linear layer."""
    return nn.Linear(8, classes)(torch.randn(batch, steps, 8))


def multi_hot(*shape, classes=5):
    """Zeros and ones with two ones or more in every row of dimension 1."""
    labels = torch.randint(2, (shape[0], classes, *shape[1:]))
    labels[:, :2] = 1
    return labels


def colored(*shape):
    """A colour image, channels first, of values from 0 to 255."""
    image = torch.randint(256, (shape[0], 3, *shape[1:]))
    image[:, 0] = 255
    return image


def one_of(values, *shape):
    """A target in which each value occurs."""
    count = torch.Size(shape).numel()
    return torch.tensor(values).repeat(-(-count // len(values)))[:count].view(shape)


def per_step_of_lstm(steps, batch):
    """The scores of 5 classes for every step of an LSTM that has time first."""
    return nn.Linear(4, 5)(nn.LSTM(4, 4)(torch.randn(steps, batch, 4))[0])


def folded(batch, channels, size, features):
    """A network whose view is sized for smaller images: more rows than samples."""
    maps = nn.Conv2d(3, channels, 1)(torch.randn(batch, 3, size, size))
    return nn.Linear(features, 5)(maps.view(-1, features))


def with_ignored(labels):
    """The labels with every third one ignored."""
    labels.view(-1)[::3] = -100
    return labels
