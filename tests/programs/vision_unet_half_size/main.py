"""Trains a network that labels sky, ground and buildings in made-up street scenes."""

import torch
from model import SceneNet
from torch.nn import CrossEntropyLoss

SKY, GROUND, BUILDING = range(3)


def scene(height=48, width=64):
    mask = torch.full((height, width), SKY)
    horizon = int(torch.randint(height // 3, 2 * height // 3, ()))
    mask[horizon:] = GROUND
    for _ in range(3):
        left = int(torch.randint(width - 8, ()))
        mask[horizon - 12 : horizon, left : left + 8] = BUILDING
    image = torch.eye(3)[mask].permute(2, 0, 1)
    return image + 0.4 * torch.randn_like(image), mask


def collate(scenes):
    images, masks = zip(*scenes, strict=True)
    return torch.stack(images), torch.stack(masks)


def evaluate(net, images, masks):
    with torch.inference_mode():
        return (net(images).argmax(dim=1) == masks).float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(5)
    net = SceneNet(num_classes=3)
    criterion = CrossEntropyLoss(weight=torch.tensor([0.5, 0.5, 2.0]))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for iteration in range(10):
        images, masks = collate([scene() for _ in range(4)])
        loss = criterion(net(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(iteration, f"{loss.item():.4f}")
    print("pixel accuracy", evaluate(net, *collate([scene() for _ in range(4)])))
