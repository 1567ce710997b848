"""Trains a small VGG to name the colour of noisy images, and prints the accuracy of each epoch."""

import argparse

import torch
from network import SmallVGG
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_data(count, num_classes):
    labels = torch.randint(num_classes, (count,))
    tints = torch.randn(num_classes, 3, 1, 1)
    return TensorDataset(tints[labels] + torch.randn(count, 3, 32, 32), labels)


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    correct = total = 0
    for images, labels in loader:
        outputs = model(images)
        loss = criterion(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct += (outputs.argmax(dim=1) == labels).sum().item()
        total += labels.size(0)
    return correct / total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()

    torch.manual_seed(0)
    loader = DataLoader(make_data(128, 10), batch_size=args.batch_size, shuffle=True)
    model = SmallVGG(num_classes=10)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        accuracy = train_one_epoch(model, loader, criterion, optimizer)
        print(f"epoch {epoch + 1}: accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
