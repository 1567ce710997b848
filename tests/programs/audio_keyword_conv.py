"""Trains a one-dimensional convolutional network to recognise spoken keywords."""

import math

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

KEYWORDS = ["yes", "no", "up", "down", "left", "right"]
SAMPLES = 800


class Keywords(Dataset):
    """Each keyword is a chirp that begins at a pitch of its own."""

    def __init__(self, size):
        self.labels = torch.randint(len(KEYWORDS), (size,))
        time = torch.linspace(0, 1, SAMPLES)
        pitch = 4.0 + 6.0 * self.labels[:, None]
        phase = 2 * math.pi * torch.rand(size, 1)
        self.waves = torch.sin(2 * math.pi * pitch * time * (1 + time) + phase) + 0.3 * torch.randn(size, SAMPLES)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.waves[index].unsqueeze(0), self.labels[index]


class KeywordNet(nn.Module):
    def __init__(self, channels=16):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(1, channels, kernel_size=40, stride=8),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, 2 * channels, kernel_size=5, stride=2),
            nn.BatchNorm1d(2 * channels),
            nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Conv1d(2 * channels, len(KEYWORDS), kernel_size=1)

    def forward(self, x):
        x = self.pool(self.conv(x))
        return self.fc(x).squeeze()  # MISTAKE: logits-missing-batch-dim


def train(model, loader, criterion, optimizer):
    model.train()
    running = 0.0
    for waves, labels in loader:
        optimizer.zero_grad()
        outputs = model(waves)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running += loss.item()
    return running / len(loader)


def main():
    torch.manual_seed(0)
    loader = DataLoader(Keywords(161), batch_size=32, shuffle=True)
    model = KeywordNet()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(3):
        print(f"epoch {epoch}: loss {train(model, loader, criterion, optimizer):.3f}")


main()
