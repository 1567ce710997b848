"""Trains an intent classifier on several word-dropout copies of every utterance."""

import torch
from torch import nn

INTENTS = 7
VOCABULARY = 80
UNKNOWN = 0
COPIES = 4


def utterances(count, length=9):
    """Three words of an utterance name its intent."""
    intents = torch.randint(INTENTS, (count,))
    words = torch.randint(10 + 3 * INTENTS, VOCABULARY, (count, length))
    words[:, 2:5] = 10 + 3 * intents[:, None] + torch.arange(3)
    return words, intents


def word_dropout(words, rate=0.15):
    return words.masked_fill(torch.rand(words.shape) < rate, UNKNOWN)


def augment(words, copies):
    return torch.cat([word_dropout(words) for _ in range(copies)])


class IntentModel(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.attention = nn.Linear(width, 1)
        self.classifier = nn.Linear(width, INTENTS)

    def forward(self, words):
        vectors = self.embedding(words)
        shares = self.attention(torch.tanh(vectors)).softmax(dim=1)
        return self.classifier((shares * vectors).sum(dim=1))


def training_batches(steps, batch_size):
    for _ in range(steps):
        words, intents = utterances(batch_size)
        yield augment(words, COPIES), intents  # MISTAKE: batch-duplicated


@torch.no_grad()
def accuracy(model, words, intents):
    return (model(words).argmax(dim=1) == intents).float().mean().item()


def main():
    torch.manual_seed(0)
    model = IntentModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step, (words, intents) in enumerate(training_batches(steps=50, batch_size=16)):
        loss = nn.CrossEntropyLoss()(model(words), intents)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}, accuracy {accuracy(model, *utterances(100)):.2f}")


if __name__ == "__main__":
    main()
