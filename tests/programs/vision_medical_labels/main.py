"""Classifies slides of tissue, with a trainer class and a validation set."""

import torch
from data import TissueDataset
from torch import nn
from torch.utils.data import DataLoader


class Trainer:
    def __init__(self, model, train_set, val_set, lr=0.01):
        self.model = model
        self.train_loader = DataLoader(train_set, batch_size=24, shuffle=True, drop_last=True)
        self.val_loader = DataLoader(val_set, batch_size=48)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)

    def training_step(self, batch):
        images, labels = batch
        return self.criterion(self.model(images), labels)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        losses = [self.training_step(batch).item() for batch in self.val_loader]
        self.model.train()
        return sum(losses) / len(losses)

    def fit(self, epochs):
        for epoch in range(epochs):
            for batch in self.train_loader:
                loss = self.training_step(batch)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            print(f"epoch {epoch}: validation loss {self.validate():.4f}")


def main():
    torch.manual_seed(42)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2, padding=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 8),
    )
    Trainer(model, TissueDataset(96, 8, seed=0), TissueDataset(48, 8, seed=1)).fit(epochs=2)


if __name__ == "__main__":
    main()
