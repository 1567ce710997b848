"""Segments images with a transformer over patches, whose tokens are put together to a map of scores."""

import torch
import torch.nn.functional as F
from torch import nn

PATCH = 4


def to_patches(images):
    """(B, C, H, W) to tokens (B, h * w, PATCH * PATCH * C)."""
    b, c, height, width = images.shape
    grid = images.reshape(b, c, height // PATCH, PATCH, width // PATCH, PATCH)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, PATCH * PATCH * c)


def from_patches(tokens, height, width):
    """Tokens (B, h * w, PATCH * PATCH * C) to pixels (B, H, W, C)."""
    b = tokens.shape[0]
    grid = tokens.reshape(b, height // PATCH, width // PATCH, PATCH, PATCH, -1)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(b, height, width, -1)


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Segmenter(nn.Module):
    def __init__(self, num_classes, size, dim=32, depth=2):
        super().__init__()
        self.embed = nn.Linear(PATCH * PATCH * 3, dim)
        self.position = nn.Parameter(torch.zeros(1, (size // PATCH) ** 2, dim))
        self.blocks = nn.Sequential(*(Block(dim, 4) for _ in range(depth)))
        self.head = nn.Linear(dim, PATCH * PATCH * num_classes)

    def forward(self, images, masks=None):
        tokens = self.blocks(self.embed(to_patches(images)) + self.position)
        logits = from_patches(self.head(tokens), *images.shape[2:])  # MISTAKE: class-dim-last
        output = {"logits": logits}
        if masks is not None:
            output["loss"] = F.cross_entropy(output["logits"], masks)
        return output


def sample(count, size):
    """Images of a bright square on noise; class 1 is the square, class 2 its border."""
    images = 0.3 * torch.randn(count, 3, size, size)
    masks = torch.zeros(count, size, size, dtype=torch.long)
    for image, mask in zip(images, masks, strict=True):
        top, left = torch.randint(size - 10, (2,)).tolist()
        mask[top : top + 9, left : left + 9] = 2
        mask[top + 1 : top + 8, left + 1 : left + 8] = 1
        image.add_(mask)
    return images, masks


def main():
    torch.manual_seed(3)
    model = Segmenter(num_classes=3, size=24)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(12):
        images, masks = sample(4, 24)
        loss = model(images, masks)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step:2d}  loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
