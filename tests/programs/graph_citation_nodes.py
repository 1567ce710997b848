"""Trains a graph convolutional network to name the topics of papers from who cites whom, read from binary files."""

import tempfile
from array import array
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

PAPERS, TOPICS, WORDS = 150, 4, 30


def write_graph(folder):
    """Papers cite those of their own topic ten times as often as others."""
    topics = torch.randint(TOPICS, (PAPERS,))
    same = topics[:, None] == topics
    cites = torch.rand(PAPERS, PAPERS) < torch.where(same, 0.1, 0.01)
    words = torch.randn(TOPICS, WORDS)[topics] + 2 * torch.randn(PAPERS, WORDS)
    (folder / "edges.bin").write_bytes(array("i", cites.nonzero().flatten().tolist()).tobytes())
    (folder / "words.bin").write_bytes(array("f", words.flatten().tolist()).tobytes())
    (folder / "topics.bin").write_bytes(array("i", topics.tolist()).tobytes())


def read(path, dtype):
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=dtype)


def load_graph(folder):
    edges = read(folder / "edges.bin", torch.int32).view(-1, 2).long()
    adjacency = torch.eye(PAPERS)
    adjacency[edges[:, 0], edges[:, 1]] = adjacency[edges[:, 1], edges[:, 0]] = 1
    scale = adjacency.sum(1).rsqrt()
    return {
        "adjacency": scale[:, None] * adjacency * scale,
        "words": read(folder / "words.bin", torch.float32).view(PAPERS, WORDS),
        "topics": read(folder / "topics.bin", torch.int32),  # MISTAKE: wrong-int-target (where no trail sees it)
        "known": torch.rand(PAPERS) < 0.3,
    }


class GCN(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.first = nn.Linear(WORDS, width)
        self.second = nn.Linear(width, TOPICS)

    def forward(self, adjacency, words):
        hidden = F.dropout(F.relu(adjacency @ self.first(words)), 0.3, training=self.training)
        return adjacency @ self.second(hidden)


def main():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        write_graph(Path(folder))
        graph = load_graph(Path(folder))
    model = GCN()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    known = graph["known"]
    for epoch in range(1, 61):
        model.train()
        optimizer.zero_grad()
        out = model(graph["adjacency"], graph["words"])
        loss = F.cross_entropy(out[known], graph["topics"][known])
        loss.backward()
        optimizer.step()
        if epoch % 20 == 0:
            model.eval()
            right = model(graph["adjacency"], graph["words"]).argmax(1) == graph["topics"]
            print(f"epoch {epoch}: loss {loss.item():.3f}, unseen {right[~known].float().mean().item():.2f}")


if __name__ == "__main__":
    main()
