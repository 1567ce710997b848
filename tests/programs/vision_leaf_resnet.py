"""Leaf disease classifier: a mini ResNet, own Dataset, last batch not full."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class LeafDataset(Dataset):
    labels = ("healthy", "rust", "scab", "mildew")

    def __init__(self, n=97, size=20):
        torch.manual_seed(21)
        self.size = size
        self.spots = torch.randint(0, len(self.labels), (n,))

    def __len__(self):
        return len(self.spots)

    def __getitem__(self, index):
        kind = self.spots[index].item()
        img = 0.3 * torch.randn(3, self.size, self.size)
        img[1] += 0.5
        if kind:
            img[kind - 1, 5:12, 5:12] += 2.0
        return img, kind


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.GroupNorm(4, channels)
        self.norm2 = nn.GroupNorm(4, channels)

    def forward(self, x):
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + x)


class LeafNet(nn.Module):
    def __init__(self, num_classes, width=16):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.layer1 = ResidualBlock(width)
        self.layer2 = ResidualBlock(width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.stem(x)
        x = self.layer2(self.layer1(x))
        x = self.avgpool(x)
        x = x.squeeze()  # MISTAKE: logits-missing-batch-dim
        return self.fc(x)


class Experiment:
    def __init__(self):
        self.data = DataLoader(LeafDataset(), batch_size=16, shuffle=True, num_workers=0)
        self.net = LeafNet(len(LeafDataset.labels))
        self.ce_loss = nn.CrossEntropyLoss()
        self.opt = torch.optim.Adam(self.net.parameters(), lr=3e-3)

    def run(self, epochs=3):
        for epoch in range(epochs):
            seen, summed = 0, 0.0
            for image, label in self.data:
                self.opt.zero_grad()
                out = self.net(image)
                loss = self.ce_loss(out, label)
                loss.backward()
                self.opt.step()
                seen += len(label)
                summed += loss.item() * len(label)
            print(f"epoch {epoch}: {summed / seen:.4f} over {seen} images")


if __name__ == "__main__":
    Experiment().run()
