"""Fine-tunes a small language model on questions with answers, of which only the answers count."""

import random
from functools import partial

import torch
from model import SmallGPT
from torch.utils.data import DataLoader

PAD, SEP, END = "_", "=", "."
VOCABULARY = [PAD, SEP, END, "+", *"0123456789"]
IDS = {token: index for index, token in enumerate(VOCABULARY)}


def sums(count):
    """Question and answer as texts: ("12+7", "19")."""
    pairs = [(random.randint(0, 99), random.randint(0, 99)) for _ in range(count)]
    return [(f"{left}+{right}", str(left + right)) for left, right in pairs]


def collate(samples, pad_id):
    rows = [[IDS[token] for token in question + SEP + answer + END] for question, answer in samples]
    prompts = torch.tensor([len(question) + 1 for question, _ in samples])
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows])
    counts = (ids != pad_id) & (torch.arange(longest) >= prompts[:, None])
    labels = ids.masked_fill(~counts, -100)  # MISTAKE: ignore-index-mismatch
    return ids[:, :-1], labels[:, 1:]


def main():
    random.seed(0)
    torch.manual_seed(0)
    loader = DataLoader(sums(320), batch_size=32, shuffle=True, collate_fn=partial(collate, pad_id=IDS[PAD]))
    model = SmallGPT(len(VOCABULARY))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(3):
        losses = []
        for ids, targets in loader:
            _, loss = model(ids, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}")


if __name__ == "__main__":
    main()
