"""Trains a single-shot detector: class 0 is the background, and hard negatives alone are counted of it."""

import torch
import torch.nn.functional as F
from torch import nn

OBJECTS = 3
NUM_CLASSES = OBJECTS + 1
CELLS = 6
ANCHORS = 2


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.confidence = nn.Conv2d(24, ANCHORS * NUM_CLASSES, 3, padding=1)
        self.location = nn.Conv2d(24, ANCHORS * 4, 3, padding=1)

    def forward(self, images):
        features = self.trunk(images)
        batch = images.shape[0]
        confidence = self.confidence(features).permute(0, 2, 3, 1).reshape(batch, -1, NUM_CLASSES)
        location = self.location(features).permute(0, 2, 3, 1).reshape(batch, -1, 4)
        return confidence, location


class MultiBoxLoss(nn.Module):
    def __init__(self, negatives_per_positive=3):
        super().__init__()
        self.ratio = negatives_per_positive

    def forward(self, confidence, location, labels, boxes):
        positive = labels > 0
        found = positive.sum(dim=1, keepdim=True)
        location_loss = F.smooth_l1_loss(location[positive], boxes[positive], reduction="sum")

        losses = F.cross_entropy(confidence.view(-1, NUM_CLASSES), labels.view(-1), reduction="none")
        losses = losses.view(labels.shape)
        hardness = losses.detach().masked_fill(positive, -1.0)
        rank = hardness.argsort(dim=1, descending=True).argsort(dim=1)
        negative = rank < (self.ratio * found).clamp(max=labels.shape[1] - 1)
        confidence_loss = losses[positive | negative].sum()

        total = found.sum().clamp(min=1)
        return confidence_loss / total, location_loss / total


def sample(batch):
    """Images with one object each, and for each anchor its class and the offsets of its box."""
    images = 0.2 * torch.randn(batch, 3, 4 * CELLS, 4 * CELLS)
    labels = torch.zeros(batch, CELLS, CELLS, ANCHORS, dtype=torch.long)
    boxes = torch.zeros(batch, CELLS, CELLS, ANCHORS, 4)
    for number in range(batch):
        row, column = torch.randint(CELLS, (2,)).tolist()
        kind = int(torch.randint(OBJECTS, ()))
        images[number, kind, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 2
        labels[number, row, column] = kind + 1
        boxes[number, row, column] = torch.randn(ANCHORS, 4) * 0.1
    return images, labels.flatten(1), boxes.flatten(1, 3)


def main():
    torch.manual_seed(0)
    detector, criterion = Detector(), MultiBoxLoss()
    optimizer = torch.optim.Adam(detector.parameters(), lr=0.01)
    for step in range(40):
        images, labels, boxes = sample(8)
        confidence_loss, location_loss = criterion(*detector(images), labels, boxes)
        optimizer.zero_grad()
        (confidence_loss + location_loss).backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step}: confidence {confidence_loss.item():.4f}, location {location_loss.item():.4f}")


if __name__ == "__main__":
    main()
