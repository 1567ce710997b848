"""Trains a small causal transformer on the characters of a text."""

import math

import torch
import torch.nn.functional as F
from torch import nn

TEXT = "the quick brown fox jumps over the lazy dog while the cat sleeps under the old oak tree " * 20
CHARACTERS = sorted(set(TEXT))
BLOCK, BATCH, WIDTH, HEADS = 32, 12, 32, 4


def batches(ids, steps):
    for _ in range(steps):
        starts = torch.randint(len(ids) - BLOCK - 1, (BATCH,)).tolist()
        chunk = torch.stack([ids[start : start + BLOCK + 1] for start in starts])
        yield chunk, chunk[:, 1:]  # MISTAKE: sequence-length-mismatch


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def attend(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, WIDTH))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CharacterModel(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.token = nn.Embedding(vocabulary, WIDTH)
        self.position = nn.Embedding(BLOCK + 1, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary, bias=False))

    def forward(self, ids, targets=None):
        x = self.token(ids) + self.position(torch.arange(ids.size(1)))
        logits = self.head(self.blocks(x))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))


torch.manual_seed(1337)
ids = torch.tensor([CHARACTERS.index(character) for character in TEXT])
model = CharacterModel(len(CHARACTERS))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step, (inputs, targets) in enumerate(batches(ids, 60)):
    _, loss = model(inputs, targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step}: loss {loss.item():.3f}, perplexity {math.exp(loss.item()):.1f}")
