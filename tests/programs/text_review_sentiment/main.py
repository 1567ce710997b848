"""Trains a classifier of short reviews, and reports how accurate and how confident it is."""

import random

import torch
from data import MOODS, WORDS, reviews
from model import SentimentClassifier
from torch import nn
from torch.utils.data import DataLoader


def train_epoch(model, loader, criterion, optimizer):
    model.train()
    total = 0.0
    for tokens, moods in loader:
        optimizer.zero_grad()
        predictions = model(tokens)
        loss = criterion(predictions, moods)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(moods)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    correct = confidence = 0.0
    for tokens, moods in loader:
        confident, predicted = model(tokens).max(dim=-1)
        correct += (predicted == moods).sum().item()
        confidence += confident.sum().item()
    return correct / len(loader.dataset), confidence / len(loader.dataset)


def main():
    random.seed(0)
    torch.manual_seed(0)
    training, held_out = DataLoader(reviews(512), batch_size=32, shuffle=True), DataLoader(reviews(128), batch_size=64)
    model = SentimentClassifier(len(WORDS), len(MOODS))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(4):
        loss = train_epoch(model, training, criterion, optimizer)
        accuracy, confidence = evaluate(model, held_out)
        print(f"epoch {epoch}: loss {loss:.3f}, accuracy {accuracy:.2f}, confidence {confidence:.2f}")


if __name__ == "__main__":
    main()
