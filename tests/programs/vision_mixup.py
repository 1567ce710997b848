"""Trains with mixup and cutmix, whose targets are mixtures of two labels."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Beta
from torch.utils.data import DataLoader, TensorDataset, default_collate

NUM_CLASSES = 10


class Mix:
    """Mixes a batch with itself in another order, either every pixel (mixup) or a rectangle (cutmix)."""

    def __init__(self, num_classes, alpha):
        self.num_classes = num_classes
        self.weights = Beta(alpha, alpha)

    def __call__(self, images, labels):
        targets = F.one_hot(labels, self.num_classes).to(images.dtype)
        keep = self.weights.sample().clamp(0.2, 0.8).item()
        others = images.roll(1, 0)
        if torch.rand(()) < 0.5:
            images = keep * images + (1 - keep) * others
        else:
            images, keep = self._cut(images, others, keep)
        return images, keep * targets + (1 - keep) * targets.roll(1, 0)

    @staticmethod
    def _cut(images, others, keep):
        height, width = images.shape[-2:]
        side = (1 - keep) ** 0.5
        tall, wide = max(int(height * side), 1), max(int(width * side), 1)
        top = int(torch.randint(height - tall + 1, ()))
        left = int(torch.randint(width - wide + 1, ()))
        images = images.clone()
        images[..., top : top + tall, left : left + wide] = others[..., top : top + tall, left : left + wide]
        return images, 1 - tall * wide / (height * width)


def make_loader(mix, count=160):
    labels = torch.randint(NUM_CLASSES, (count,))
    images = torch.randn(NUM_CLASSES, 3, 16, 16)[labels] + 0.5 * torch.randn(count, 3, 16, 16)
    return DataLoader(
        TensorDataset(images, labels), batch_size=32, shuffle=True, collate_fn=lambda rows: mix(*default_collate(rows))
    )


def main():
    torch.manual_seed(6)
    loader = make_loader(Mix(NUM_CLASSES, alpha=1.0))
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, NUM_CLASSES),
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for epoch in range(6):
        total = 0.0
        for images, targets in loader:
            loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}: {total / len(loader):.4f}")


if __name__ == "__main__":
    main()
