"""The classifier: a bag of word vectors, and a small network on top."""

from torch import nn


class SentimentClassifier(nn.Module):
    def __init__(self, words, classes, width=32):
        super().__init__()
        self.vectors = nn.EmbeddingBag(words, width, mode="mean", padding_idx=0)
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1))
        self.output = nn.Linear(width, classes)

    def forward(self, tokens):
        scores = self.output(self.hidden(self.vectors(tokens)))
        return scores.softmax(dim=-1)  # MISTAKE: softmax-applied
