"""Tells three varieties of wheat by seven measures of a kernel."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def write_csv(path):
    # area, perimeter, compactness, kernel length, width, asymmetry, groove, variety
    rng = np.random.default_rng(5)
    means = {
        1: [14.3, 14.3, 0.88, 5.5, 3.2, 2.7, 5.1],
        2: [18.3, 16.1, 0.88, 6.1, 3.7, 3.6, 6.0],
        3: [11.9, 13.2, 0.85, 5.2, 2.9, 4.8, 5.1],
    }
    rows = []
    for variety, mean in means.items():
        rows += [[*(np.array(mean) * (1 + 0.05 * rng.standard_normal(7))), variety] for _ in range(70)]
    np.savetxt(path, rows, delimiter=",", fmt="%.4f")


path = Path(tempfile.mkdtemp(), "seeds.csv")
write_csv(path)

data = np.loadtxt(path, delimiter=",", dtype=np.float32)
x = torch.from_numpy(data[:, :-1])
x = (x - x.mean(0)) / x.std(0)
y = torch.from_numpy(data[:, -1]).long()  # MISTAKE: labels-start-at-one

torch.manual_seed(0)
train, test = random_split(TensorDataset(x, y), [170, 40])
train_loader = DataLoader(train, batch_size=10, shuffle=True)
test_loader = DataLoader(test, batch_size=40)

num_classes = len(y.unique())
model = nn.Sequential(
    nn.Linear(7, 16),
    nn.Tanh(),
    nn.Linear(16, num_classes),
)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

for _epoch in range(10):
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = loss_fn(model(xb), yb)
        loss.backward()
        optimizer.step()

with torch.no_grad():
    for xb, yb in test_loader:
        print("accuracy", (model(xb).argmax(1) == yb).float().mean().item())
