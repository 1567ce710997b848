"""Segments scenes whose borders, and pixels that padding adds, are void and not counted."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

VOID = 255
CROP = 40


class Scenes(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        height, width = torch.randint(28, 37, (2,), generator=generator).tolist()
        mask = torch.zeros(height, width, dtype=torch.uint8)
        for number in (1, 2, 3):
            top, left = torch.randint(18, (2,), generator=generator).tolist()
            mask[top : top + 10, left : left + 10] = VOID
            mask[top + 1 : top + 9, left + 1 : left + 9] = number
        colours = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        image = colours[mask.long() % VOID].permute(2, 0, 1)
        return image + 0.3 * torch.randn(image.shape, generator=generator), mask


def pad_and_stack(samples):
    images, masks = [], []
    for image, mask in samples:
        below, right = CROP - mask.shape[0], CROP - mask.shape[1]
        images.append(F.pad(image, (0, right, 0, below)))
        masks.append(F.pad(mask, (0, right, 0, below), value=VOID))
    return torch.stack(images), torch.stack(masks).long()


class FCN(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, padding=2, dilation=2),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Conv2d(32, num_classes, 1)
        self.auxiliary = nn.Conv2d(32, num_classes, 1)

    def forward(self, x):
        features = self.backbone(x)
        heads = {"out": self.classifier, "aux": self.auxiliary}
        return {
            name: F.interpolate(head(features), size=x.shape[-2:], mode="bilinear", align_corners=False)
            for name, head in heads.items()
        }


def criterion(outputs, masks):
    losses = {name: F.cross_entropy(scores, masks, ignore_index=VOID) for name, scores in outputs.items()}
    return losses["out"] + 0.5 * losses["aux"]


def pixel_accuracy(outputs, masks):
    counted = masks != VOID
    return (outputs["out"].argmax(1) == masks)[counted].float().mean().item()


def main():
    torch.manual_seed(0)
    loader = DataLoader(Scenes(40), batch_size=4, shuffle=True, collate_fn=pad_and_stack)
    model = FCN(num_classes=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=30, power=0.9)
    for epoch in range(3):
        for images, masks in loader:
            outputs = model(images)
            loss = criterion(outputs, masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {pixel_accuracy(outputs, masks):.4f}")


if __name__ == "__main__":
    main()
