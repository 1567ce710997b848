"""Trains a perceptron on flattened images of bars, horizontal, vertical and diagonal ones."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import cross_entropy

SIDE = 8


def draw(kind, generator):
    image = torch.zeros(SIDE, SIDE)
    at = int(torch.randint(SIDE, (), generator=generator))
    if kind == 0:
        image[at] = 1
    elif kind == 1:
        image[:, at] = 1
    else:
        image = torch.roll(torch.eye(SIDE), at, dims=1)
    return image + 0.2 * torch.randn(SIDE, SIDE, generator=generator)


def perceptron(*sizes):
    layers = [nn.Flatten()]
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.ReLU(inplace=True)]  # MISTAKE: relu-applied
    return nn.Sequential(*layers)


def fit(model, images, labels, epochs, size):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(epochs):
        losses = []
        for chosen in torch.randperm(len(images)).split(size):
            optimizer.zero_grad()
            loss = cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        print(f"{epoch}: {torch.stack(losses).mean():.4f}")


torch.manual_seed(0)
generator = torch.Generator().manual_seed(7)
labels = torch.arange(3).repeat(40)
images = torch.stack([draw(kind, generator) for kind in labels.tolist()])
fit(perceptron(SIDE * SIDE, 32, 16, 3), images, labels, epochs=4, size=20)
