"""Trains a network on a table of insurance claims whose outcomes are far from evenly spread."""

import torch
from claims import FEATURES, OUTCOMES, balanced_weights, claims
from network import network
from torch import nn


class Experiment:
    def __init__(self):
        self.features, self.outcome, alike = claims(600)
        self.model = network(FEATURES, len(OUTCOMES))
        self.criterion = nn.CrossEntropyLoss(weight=balanced_weights(self.outcome, alike), label_smoothing=0.02)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3)

    def epoch(self):
        total = 0.0
        for rows in torch.randperm(len(self.outcome)).split(60):
            loss = self.criterion(self.model(self.features[rows]), self.outcome[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total

    @torch.no_grad()
    def recalls(self):
        features, outcome, _ = claims(600)
        predicted = self.model(features).argmax(dim=1)
        return [(predicted[outcome == k] == k).float().mean().item() for k in range(len(OUTCOMES))]


if __name__ == "__main__":
    torch.manual_seed(0)
    experiment = Experiment()
    for number in range(4):
        loss = experiment.epoch()
        recalls = ", ".join(f"{name} {recall:.2f}" for name, recall in zip(OUTCOMES, experiment.recalls(), strict=True))
        print(f"epoch {number}: loss {loss:.3f}, recalls: {recalls}")
