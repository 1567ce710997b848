"""Trains a small U-Net."""

import torch
from data import Cells
from model import UNet
from torch import nn, optim
from torch.utils.data import DataLoader


class Trainer:
    def __init__(self, model, lr=1e-3):
        self.model = model
        self.criterion = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 1.0, 1.0]))
        self.optimizer = optim.Adam(model.parameters(), lr=lr)

    def step(self, images, masks):
        self.optimizer.zero_grad()
        logits = self.model(images)
        loss = self.criterion(logits, masks)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def fit(self, loader, epochs):
        for epoch in range(epochs):
            losses = [self.step(images, masks) for images, masks in loader]
            print("epoch", epoch, "loss", sum(losses) / len(losses))


if __name__ == "__main__":
    torch.manual_seed(0)
    loader = DataLoader(Cells(), batch_size=4, shuffle=True, num_workers=0)
    Trainer(UNet(1, 3)).fit(loader, epochs=2)
