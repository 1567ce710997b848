"""Trains a transformer encoder to tell the topics of short documents."""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Config:
    vocabulary: int = 200
    topics: int = 6
    length: int = 24
    width: int = 32
    heads: int = 4
    layers: int = 2
    batch: int = 16
    steps: int = 40
    lr: float = 2e-3


def documents(config):
    """A third of the words of a document come from its topic's own part of the vocabulary."""
    topics = torch.randint(config.topics, (config.batch,))
    words = torch.randint(100, config.vocabulary, (config.batch, config.length))
    own = topics[:, None] * 16 + torch.randint(1, 16, words.shape)
    return torch.where(torch.rand(words.shape) < 0.33, own, words), topics


class PositionalEncoding(nn.Module):
    def __init__(self, width, longest=512):
        super().__init__()
        position = torch.arange(longest).unsqueeze(1)
        rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        table = torch.zeros(longest, width)
        table[:, 0::2] = torch.sin(position * rate)
        table[:, 1::2] = torch.cos(position * rate)
        self.register_buffer("table", table)

    def forward(self, x):
        return x + self.table[: x.size(1)]


def build(config):
    layer = nn.TransformerEncoderLayer(config.width, config.heads, 64, dropout=0.1, batch_first=True)
    encoder = nn.TransformerEncoder(layer, config.layers)
    return nn.Sequential(
        nn.Embedding(config.vocabulary, config.width),
        PositionalEncoding(config.width),
        encoder,
        nn.Linear(config.width, config.topics),  # MISTAKE: logits-not-pooled
    )


def fit(model, config):
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps)
    for step in range(config.steps):
        words, topics = documents(config)
        loss = loss_function(model(words), topics)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 10 == 0:
            print(f"{step:3d}  {loss.item():.4f}")


def main():
    torch.manual_seed(42)
    config = Config()
    fit(build(config), config)


if __name__ == "__main__":
    main()
