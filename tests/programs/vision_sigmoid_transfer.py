"""Fine-tunes a new head on a frozen backbone, as set by a configuration."""

from dataclasses import dataclass

import torch
from torch import nn

FINAL = {"none": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


@dataclass
class Config:
    num_classes: int = 5
    width: int = 24
    final: str = "sigmoid"  # MISTAKE: sigmoid-applied (where no trail sees it)
    learning_rate: float = 0.05
    steps: int = 25


class Backbone(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        x = self.stem(x).relu()
        for block in self.blocks:
            x = x + block(x).relu()
        return x


class ConvHead(nn.Module):
    """Scores an image from its pooled features, with 1 x 1 convolutions in place of linear layers."""

    def __init__(self, config):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(config.width, config.width // 2, 1)
        self.score = nn.Conv2d(config.width // 2, config.num_classes, 1)
        self.final = FINAL[config.final]()

    def forward(self, features):
        hidden = self.reduce(self.pool(features)).relu()
        return self.final(self.score(hidden)).squeeze(-1).squeeze(-1)


class Classifier(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.backbone = Backbone(config.width).requires_grad_(requires_grad=False)
        self.head = ConvHead(config)
        self.loss = nn.CrossEntropyLoss()

    def forward(self, images, labels=None):
        with torch.no_grad():
            features = self.backbone(images)
        scores = self.head(features)
        return scores if labels is None else (scores, self.loss(scores, labels))


def batches(config, size=12):
    palette = torch.randn(config.num_classes, 3, 1, 1)
    for _ in range(config.steps):
        labels = torch.randint(config.num_classes, (size,))
        yield palette[labels] + 0.3 * torch.randn(size, 3, 16, 16), labels


def main():
    torch.manual_seed(1)
    config = Config()
    model = Classifier(config)
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=config.learning_rate)
    for step, (images, labels) in enumerate(batches(config)):
        _, loss = model(images, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 5 == 0:
            print(step, round(loss.item(), 4))


main()
