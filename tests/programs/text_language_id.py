"""Trains a GRU over characters to tell made-up languages apart."""

import string

import torch
from torch import nn

LANGUAGES = 4
ALPHABET = string.ascii_lowercase
LENGTH = 20


def lines(count):
    """Each language favours every fourth letter, beginning at its own."""
    language = torch.randint(LANGUAGES, (count,))
    favoured = torch.randint(len(ALPHABET) // LANGUAGES, (count, LENGTH)) * LANGUAGES + language[:, None]
    noise = torch.randint(len(ALPHABET), (count, LENGTH))
    return torch.where(torch.rand(count, LENGTH) < 0.6, favoured, noise), language


class LanguageClassifier(nn.Module):
    def __init__(self, embedding_dim=16, hidden_dim=32):
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), embedding_dim)
        self.gru = nn.GRU(embedding_dim, hidden_dim)  # MISTAKE: time-batch-swapped
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(hidden_dim, LANGUAGES)

    def forward(self, x):
        embedded = self.embedding(x)
        _, hidden = self.gru(embedded)
        return self.fc(self.dropout(hidden[-1]))


def train(model, steps=60, batch_size=32):
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(steps):
        x, y = lines(batch_size)
        output = model(x)
        loss = criterion(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 19:
            print(f"step {step + 1}: loss {loss.item():.3f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    train(LanguageClassifier())
