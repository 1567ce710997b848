"""Trains a classifier of textures, and watches the loss of a held-out set for early stopping."""

import copy
import math
from itertools import pairwise

import torch
from torch import nn


class TextureNet(nn.Module):
    def __init__(self, channels=(1, 8, 16), classes=4):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, stride=2) for before, after in pairwise(channels))
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, x):
        for convolution in self.convolutions:
            x = torch.tanh(convolution(x))
        logits = self.head(x.mean(dim=(-2, -1)))
        if self.training:
            return logits
        return logits.argmax(dim=-1)  # MISTAKE: class-ids-as-logits


class EarlyStopping:
    def __init__(self, patience):
        self.patience = patience
        self.best = math.inf
        self.bad = 0
        self.state = None

    def __call__(self, loss, model):
        if loss < self.best:
            self.best, self.bad, self.state = loss, 0, copy.deepcopy(model.state_dict())
        else:
            self.bad += 1
        return self.bad >= self.patience


def textures(count):
    labels = torch.randint(4, (count,))
    noise = torch.randn(count, 1, 20, 20)
    smooth = nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)
    steps = labels.view(-1, 1, 1, 1) / 3
    return steps * noise + (1 - steps) * smooth, labels


def run_epoch(model, criterion, data, optimizer=None):
    model.train(optimizer is not None)
    total = 0.0
    with torch.set_grad_enabled(optimizer is not None):
        for images, labels in zip(*(part.split(16) for part in data), strict=True):
            loss = criterion(model(images), labels)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total += loss.item() * len(labels)
    return total / len(data[1])


def main():
    torch.manual_seed(9)
    train, held_out = textures(96), textures(48)
    model, criterion = TextureNet(), nn.CrossEntropyLoss()
    optimizer = torch.optim.NAdam(model.parameters(), lr=0.01)
    stop = EarlyStopping(patience=2)
    for epoch in range(5):
        train_loss = run_epoch(model, criterion, train, optimizer)
        val_loss = run_epoch(model, criterion, held_out)
        print(f"{epoch}: train {train_loss:.4f}, validation {val_loss:.4f}")
        if stop(val_loss, model):
            break
    model.load_state_dict(stop.state)


if __name__ == "__main__":
    main()
