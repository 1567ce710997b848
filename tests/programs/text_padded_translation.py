"""Trains an encoder and decoder to reverse words, in padded batches whose padding does not count."""

import random

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

PAD, BEGIN, END = range(3)
LETTERS = "abcdefgh"
SYMBOLS = 3 + len(LETTERS)


def pair(word):
    ids = torch.tensor([3 + LETTERS.index(letter) for letter in word])
    return ids, torch.cat([torch.tensor([BEGIN]), ids.flip(0), torch.tensor([END])])


def collate(words):
    sources, targets = zip(*map(pair, words), strict=True)
    lengths = torch.tensor([len(source) for source in sources])
    return pad_sequence(sources, batch_first=True), lengths, pad_sequence(targets, batch_first=True, padding_value=PAD)


class Reverser(nn.Module):
    def __init__(self, width=24, hidden=48):
        super().__init__()
        self.embed = nn.Embedding(SYMBOLS, width, padding_idx=PAD)
        self.encoder = nn.GRU(width, hidden, batch_first=True)
        self.decoder = nn.GRU(width, hidden, batch_first=True)
        self.to_symbols = nn.Linear(hidden, SYMBOLS)

    def forward(self, sources, lengths, decoded):
        packed = pack_padded_sequence(self.embed(sources), lengths, batch_first=True, enforce_sorted=False)
        _, state = self.encoder(packed)
        states, _ = self.decoder(self.embed(decoded), state)
        return self.to_symbols(states)


def main():
    random.seed(0)
    torch.manual_seed(0)
    words = ["".join(random.choices(LETTERS, k=random.randint(1, 5))) for _ in range(330)]
    loader = DataLoader(words, batch_size=32, shuffle=True, collate_fn=collate)
    model = Reverser()
    criterion = nn.CrossEntropyLoss(ignore_index=PAD)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(4):
        total = counted = 0
        for sources, lengths, targets in loader:
            logits = model(sources, lengths, targets[:, :-1])
            expected = targets[:, 1:]
            loss = criterion(logits.reshape(-1, SYMBOLS), expected.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            symbols = (expected != PAD).sum().item()
            total += loss.item() * symbols
            counted += symbols
        print(f"epoch {epoch}: loss {total / counted:.3f} per symbol")


if __name__ == "__main__":
    main()
