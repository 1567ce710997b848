"""Trains a BiLSTM that tags the words of a sentence with entity classes."""

import torch
from torch import nn

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
WORDS, LENGTH = 120, 16


def sentences(count):
    """Words 100 and up begin an entity, and an odd word right behind one goes on with it."""
    words = torch.randint(1, WORDS, (count, LENGTH))
    begins = words >= 100
    place = (words >= 110).long() * 2
    goes_on = torch.zeros_like(begins)
    goes_on[:, 1:] = begins[:, :-1] & ~begins[:, 1:] & (words[:, 1:] % 2 == 1)
    tags = torch.where(begins, 1 + place, 0)
    tags[:, 1:] = torch.where(goes_on[:, 1:], 2 + place[:, :-1], tags[:, 1:])
    return words, tags


class Tagger(nn.Module):
    def __init__(self, embedding=24, hidden=32):
        super().__init__()
        self.embed = nn.Embedding(WORDS, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(2 * hidden, len(TAGS))

    def forward(self, words):
        states, _ = self.lstm(self.embed(words))
        return self.tag(states)  # MISTAKE: class-dim-last


class Trainer:
    """For any model that gives scores with the classes in dim 1."""

    def __init__(self, model, lr):
        self.model = model
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr)

    def step(self, inputs, targets):
        self.optimizer.zero_grad()
        loss = self.loss(self.model(inputs), targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def accuracy(self, inputs, targets):
        return (self.model(inputs).argmax(dim=1) == targets).float().mean().item()


torch.manual_seed(1)
trainer = Trainer(Tagger(), lr=1e-2)
for epoch in range(3):
    losses = [trainer.step(*sentences(8)) for _ in range(10)]
    print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}, accuracy {trainer.accuracy(*sentences(64)):.3f}")
