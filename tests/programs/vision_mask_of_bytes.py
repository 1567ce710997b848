"""Segments cars from their background, from images and masks as an image library reads them."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def read_image(number, size):
    """A colour image (H, W, 3) and a black-and-white mask (H, W), both of bytes."""
    generator = torch.Generator().manual_seed(number)
    mask = torch.zeros(size, size, dtype=torch.uint8)
    row, column = torch.randint(size // 2, (2,), generator=generator).tolist()
    mask[row : row + size // 3, column : column + size // 2] = 255
    image = torch.randint(128, (size, size, 3), generator=generator, dtype=torch.uint8)
    image[mask > 0] += 100
    return image, mask


class CarDataset(Dataset):
    def __init__(self, numbers, size=32, *, augment=False):
        self.numbers = list(numbers)
        self.size = size
        self.augment = augment

    def __len__(self):
        return len(self.numbers)

    @staticmethod
    def preprocess(array, *, is_mask):
        if is_mask:
            return array.long()  # MISTAKE: mask-not-class-ids
        return array.permute(2, 0, 1).float() / 255

    def __getitem__(self, index):
        image, mask = read_image(self.numbers[index], self.size)
        if self.augment and torch.rand(()) < 0.5:
            image, mask = image.flip(1), mask.flip(1)
        return {"image": self.preprocess(image, is_mask=False), "mask": self.preprocess(mask, is_mask=True)}


class DoubleConv(nn.Sequential):
    def __init__(self, before, after):
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, n_channels, n_classes):
        super().__init__()
        self.inc = DoubleConv(n_channels, 8)
        self.down = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.conv = DoubleConv(16, 8)
        self.outc = nn.Conv2d(8, n_classes, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.up(self.down(x1))
        return self.outc(self.conv(torch.cat([x1, x2], dim=1)))


def dice(predicted, masks):
    inter = (predicted * masks).sum().item()
    return 2 * inter / max((predicted.sum() + masks.sum()).item(), 1)


def main():
    torch.manual_seed(0)
    loader = DataLoader(CarDataset(range(24), augment=True), batch_size=4, shuffle=True)
    net = UNet(n_channels=3, n_classes=2)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(2):
        for batch in loader:
            scores = net(batch["image"])
            loss = criterion(scores, batch["mask"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        print(epoch, f"{loss.item():.4f}", f"{dice(scores.argmax(dim=1), batch['mask']):.4f}")


if __name__ == "__main__":
    main()
