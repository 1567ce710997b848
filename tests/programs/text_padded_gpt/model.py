"""A small causal language model that computes its own loss."""

import torch
import torch.nn.functional as F
from torch import nn


class SmallGPT(nn.Module):
    def __init__(self, vocabulary, width=32, heads=4, longest=64):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(longest, width) * 0.02)
        self.block = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.tokens.weight

    def forward(self, ids, targets=None):
        """Scores, and the loss where there are targets; steps whose target is -1 do not count."""
        length = ids.size(1)
        causal = nn.Transformer.generate_square_subsequent_mask(length)
        states = self.block(self.tokens(ids) + self.places[:length], src_mask=causal, is_causal=True)
        if targets is None:
            return self.lm_head(self.norm(states[:, -1:])), None
        logits = self.lm_head(self.norm(states))
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)
        return logits, loss
