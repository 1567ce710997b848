"""Trains a classifier on a dataset whose transforms are functions put together by hand."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

NUM_CLASSES = 6


class Compose:
    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, value):
        for step in self.steps:
            value = step(value)
        return value


class Shapes(Dataset):
    """Pixels of 0 to 255 as bytes, and a class number as a plain int."""

    def __init__(self, count, transform, target_transform):
        generator = torch.Generator().manual_seed(11)
        self.classes = torch.randint(NUM_CLASSES, (count,), generator=generator).tolist()
        self.pixels = torch.randint(256, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)
        for pixels, number in zip(self.pixels, self.classes, strict=True):
            pixels[0, 2 * number : 2 * number + 2] = 255
        self.transform = transform
        self.target_transform = target_transform

    def __len__(self):
        return len(self.classes)

    def __getitem__(self, index):
        return self.transform(self.pixels[index]), self.target_transform(self.classes[index])


def to_float(pixels):
    return pixels.float() / 255


def normalize(image):
    return (image - 0.5) / 0.25


to_label = Compose(torch.tensor, lambda number: F.one_hot(number, NUM_CLASSES))  # MISTAKE: one-hot-target

torch.manual_seed(0)
dataset = Shapes(96, transform=Compose(to_float, normalize), target_transform=to_label)
loader = DataLoader(dataset, batch_size=16, shuffle=True)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, stride=2),
    nn.LeakyReLU(),
    nn.Flatten(),
    nn.Linear(8 * 5 * 5, NUM_CLASSES),
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(3):
    total = 0.0
    for images, labels in loader:
        loss = nn.CrossEntropyLoss()(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: loss {total / len(loader):.4f}")
