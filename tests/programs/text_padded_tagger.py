"""BiLSTM tagger for a toy named-entity corpus."""

import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

PEOPLE = ["anna", "boris", "carla", "dmitri", "elena"]
CITIES = ["paris", "quito", "riga", "seoul", "turin"]
FILLER = ["went", "to", "from", "with", "and", "saw", "in", "the", "old", "town", "yesterday"]
TAGS = ["O", "B-PER", "B-LOC"]
PAD_TAG = -100

vocab = {w: i + 1 for i, w in enumerate(PEOPLE + CITIES + FILLER)}


class Sentences(Dataset):
    def __init__(self, n, seed=0):
        rng = random.Random(seed)
        self.items = []
        for _ in range(n):
            words, tags = [], []
            for _ in range(rng.randint(5, 14)):
                kind = rng.choice([0, 0, 0, 1, 2])
                words.append(rng.choice([FILLER, PEOPLE, CITIES][kind]))
                tags.append(kind)
            self.items.append((words, tags))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        words, tags = self.items[i]
        return torch.tensor([vocab[w] for w in words]), torch.tensor(tags)


def collate(batch):
    tokens, tags = zip(*batch, strict=False)
    tokens = pad_sequence(tokens)  # MISTAKE: time-batch-swapped
    tags = pad_sequence(tags, batch_first=True, padding_value=PAD_TAG)
    return tokens, tags


class Tagger(nn.Module):
    def __init__(self, vocab_size, n_tags, dim=24):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, dim, padding_idx=0)
        self.lstm = nn.LSTM(dim, dim, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(2 * dim, n_tags)

    def forward(self, tokens):
        h, _ = self.lstm(self.emb(tokens))
        return self.out(self.drop(h))


def main():
    torch.manual_seed(1)
    loader = DataLoader(Sentences(320), batch_size=32, shuffle=True, collate_fn=collate)
    model = Tagger(len(vocab) + 1, len(TAGS))
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    criterion = nn.CrossEntropyLoss(ignore_index=PAD_TAG)
    for epoch in range(3):
        total = 0.0
        for tokens, tags in loader:
            logits = model(tokens)
            loss = criterion(logits.transpose(1, 2), tags)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item()
        print(f"epoch {epoch}: {total / len(loader):.4f}")


if __name__ == "__main__":
    main()
