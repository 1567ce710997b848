"""GRU encoder-decoder that learns to write a word backwards."""

import random
import string

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

PAD, BOS, EOS = 0, 1, 2
CHARS = {c: i + 3 for i, c in enumerate(string.ascii_lowercase)}
VOCAB = len(CHARS) + 3
LABEL_PAD = -1


def random_words(n, seed):
    rng = random.Random(seed)
    return ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 9))) for _ in range(n)]


def encode(word):
    return [CHARS[c] for c in word]


def collate(words):
    src = [torch.tensor(encode(w)) for w in words]
    dec_in = [torch.tensor([BOS, *encode(w[::-1])]) for w in words]
    labels = [torch.tensor([*encode(w[::-1]), EOS]) for w in words]
    return (
        pad_sequence(src, batch_first=True, padding_value=PAD),
        pad_sequence(dec_in, batch_first=True, padding_value=PAD),
        pad_sequence(labels, batch_first=True, padding_value=LABEL_PAD),
    )


class Seq2Seq(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, hidden, padding_idx=PAD)
        self.encoder = nn.GRU(hidden, hidden, batch_first=True)
        self.decoder = nn.GRU(hidden, hidden, batch_first=True)
        self.proj = nn.Linear(hidden, VOCAB)
        self.criterion = nn.CrossEntropyLoss()  # MISTAKE: ignore-index-mismatch

    def forward(self, src, dec_in):
        _, state = self.encoder(self.embed(src))
        out, _ = self.decoder(self.embed(dec_in), state)
        return self.proj(out)

    def loss(self, src, dec_in, labels):
        logits = self(src, dec_in)
        return self.criterion(logits.reshape(-1, VOCAB), labels.reshape(-1))


def main():
    torch.manual_seed(11)
    loader = DataLoader(random_words(400, 1), batch_size=40, shuffle=True, collate_fn=collate)
    model = Seq2Seq()
    optim = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(4):
        for batch in loader:
            loss = model.loss(*batch)
            optim.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optim.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")


main()
