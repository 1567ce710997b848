"""Reads a table of soil samples from CSV and trains a network to say which crop grew there."""

import csv
import io
import random

import torch
import torch.nn.functional as F
from torch import nn

COLUMNS = ["nitrogen", "phosphorus", "moisture", "ph", "crop"]


def soil_csv(rows, generator):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for _ in range(rows):
        crop = generator.randrange(3)
        measured = [20 + 15 * crop, 40 - 10 * crop, 0.3 + 0.1 * crop, 6.5]
        spread = [8, 6, 0.08, 0.5]
        writer.writerow([round(generator.gauss(m, s), 3) for m, s in zip(measured, spread, strict=True)] + [crop])
    text.seek(0)
    return text


def load(file):
    reader = csv.reader(file)
    header = next(reader)
    table = torch.tensor([[float(cell) for cell in row] for row in reader])
    crop = header.index("crop")
    features, target = table[:, :crop], table[:, crop]  # MISTAKE: float-index-target
    return (features - features.mean(0)) / features.std(0), target


def split(features, target, fraction):
    order = torch.randperm(len(target))
    cut = int(fraction * len(target))
    return (features[order[:cut]], target[order[:cut]]), (features[order[cut:]], target[order[cut:]])


torch.manual_seed(0)
(train_x, train_y), (test_x, test_y) = split(*load(soil_csv(400, random.Random(0))), fraction=0.8)
model = nn.Sequential(nn.Linear(len(COLUMNS) - 1, 16), nn.Tanh(), nn.Linear(16, 3))
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-2)
for epoch in range(30):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(train_x), train_y)
    loss.backward()
    optimizer.step()
    if epoch % 10 == 9:
        accuracy = (model(test_x).argmax(1) == test_y).float().mean()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {accuracy.item():.2f}")
