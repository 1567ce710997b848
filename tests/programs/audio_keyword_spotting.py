"""Spot one of six "keywords" (chirps) in one second of 4 kHz audio."""

import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

WORDS = ["yes", "no", "up", "down", "left", "right"]
RATE = 4000


class SpokenWords(Dataset):
    def __init__(self, size, seed):
        self.size = size
        self.seed = seed

    def __len__(self):
        return self.size

    def __getitem__(self, idx):
        rng = np.random.default_rng(self.seed * 100003 + idx)
        label = int(rng.integers(len(WORDS)))
        t = np.arange(RATE) / RATE
        f0, f1 = 150 + 120 * label, 300 + 60 * label
        wave = np.sin(2 * np.pi * (f0 * t + 0.5 * (f1 - f0) * t**2))
        wave += 0.3 * rng.standard_normal(RATE)
        return wave.astype(np.float32), label


class Spectrogram(nn.Module):
    def __init__(self, n_fft=128, hop=64):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft))

    def forward(self, wave):
        spec = torch.stft(wave, self.n_fft, self.hop, window=self.window, return_complex=True)
        return (spec.abs() + 1e-6).log()  # (batch, freq, frames)


class KeywordNet(nn.Module):
    def __init__(self, n_words, width=48):
        super().__init__()
        self.features = Spectrogram()
        self.conv = nn.Sequential(
            nn.Conv1d(65, width, 5, stride=2, padding=2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.gru = nn.GRU(width, width, batch_first=True)
        self.fc = nn.Linear(width, n_words)

    def forward(self, wave):
        h = self.conv(self.features(wave))
        h, _ = self.gru(h.transpose(1, 2))
        return self.fc(h)  # MISTAKE: logits-not-pooled


def train_one_epoch(model, loader, optimizer, criterion):
    model.train()
    running, seen, correct = 0.0, 0, 0
    for waves, labels in loader:
        optimizer.zero_grad()
        scores = model(waves)
        loss = criterion(scores, labels)
        loss.backward()
        optimizer.step()
        running += loss.item() * len(labels)
        correct += (scores.argmax(1) == labels).sum().item()
        seen += len(labels)
    return running / seen, correct / seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=20)
    args = parser.parse_args()

    torch.manual_seed(0)
    loader = DataLoader(SpokenWords(200, 7), batch_size=args.batch_size, shuffle=True)
    net = KeywordNet(len(WORDS))
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(args.epochs):
        loss, acc = train_one_epoch(net, loader, opt, nn.CrossEntropyLoss())
        print(f"[{epoch}] loss {loss:.3f} acc {acc:.2%}")
