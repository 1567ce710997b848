"""Data, loaders and batches that the audit's tests look through."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

X = torch.randn(100, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(100) * 7 % 5
MASKS = torch.arange(6400).reshape(100, 8, 8) * 3 % 5
TOKENS = torch.arange(1200).reshape(100, 12) * 11 % 50
SOFT = (torch.randn(100, 5, generator=torch.Generator().manual_seed(1)) * 2).softmax(1)
ONE_HOT = F.one_hot(Y, 5)
COLORS = (X * 60 + 128).clamp(0, 255).long()
PALETTE = torch.tensor([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]])


def loader(x, y, batch_size=16, **options):
    return DataLoader(TensorDataset(x, y), batch_size=batch_size, **options)


def changed(tensor, at, value):
    """A copy in which one entry is another."""
    tensor = tensor.clone()
    tensor[at] = value
    return tensor


def places(finding):
    return [(sample.batch, sample.position, sample.index) for sample in finding.samples]


def collated(samples):
    return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])


def time_first(samples):
    """A collate function whose batches have their samples in dim 1."""
    return tuple(torch.stack(side, 1) for side in zip(*samples, strict=True))


def batches_of(*sizes, x=X, y=Y):
    return [(x[:size], y[:size]) for size in sizes]


def token_batches(*lengths):
    return [{"input_ids": TOKENS[:4, :length], "labels": TOKENS[:4, :length]} for length in lengths]
