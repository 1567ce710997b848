"""A small VGG for 32 x 32 colour images."""

from torch import nn

CONFIG = (16, "pool", 32, "pool", 64, "pool")


def make_features(config, channels=3):
    layers = []
    for step in config:
        if step == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, step, 3, padding=1), nn.BatchNorm2d(step), nn.ReLU(inplace=True)]
            channels = step
    return nn.Sequential(*layers)


class SmallVGG(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.features = make_features(CONFIG)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(128, num_classes),
            nn.Softmax(dim=1),  # MISTAKE: softmax-applied
        )

    def forward(self, images):
        return self.classifier(self.features(images))
