"""Trains one network on a table to predict two things of different numbers of classes, some unknown, in one loss."""

import torch
import torch.nn.functional as F
from torch import nn

HEADS = {"kind": 2, "region": 9}
FEATURES = 10


def households(count):
    """The kind is known of all, the region of some: where it is not, it is -100."""
    features = torch.randn(count, FEATURES)
    kind = (features[:, :3].sum(dim=1) > 0).long()
    region = 3 * (features[:, 3:6].argmax(dim=1)) + features[:, 6:9].argmax(dim=1)
    return features, {"kind": kind, "region": region.masked_fill(torch.rand(count) < 0.4, -100)}


class TwoHeads(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in HEADS.items()})

    def forward(self, features):
        shared = self.trunk(features)
        return {name: head(shared) for name, head in self.heads.items()}


def losses_of(outputs, labels):
    return {name: F.cross_entropy(scores, labels[name], label_smoothing=0.05) for name, scores in outputs.items()}


def main():
    torch.manual_seed(0)
    model = TwoHeads()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(1, 121):
        features, labels = households(40)
        losses = losses_of(model(features), labels)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        if step % 40 == 0:
            print(f"step {step}: " + ", ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
