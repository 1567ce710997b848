import torch
from torch.utils.data import Dataset


class Cells(Dataset):
    """Bright (1) and dark (2) discs on a grey, noisy background (0)."""

    def __init__(self, n=24, size=64):
        self.n = n
        self.size = size
        ys, xs = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        self.grid = ys, xs

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        g = torch.Generator().manual_seed(index)
        ys, xs = self.grid
        image = 0.1 * torch.randn(self.size, self.size, generator=g) + 0.5
        mask = torch.zeros(self.size, self.size, dtype=torch.long)
        for _ in range(6):
            cy, cx = torch.randint(0, self.size, (2,), generator=g).tolist()
            r = int(torch.randint(4, 10, (1,), generator=g))
            kind = int(torch.randint(1, 3, (1,), generator=g))
            disc = (ys - cy) ** 2 + (xs - cx) ** 2 < r * r
            image[disc] += 0.4 if kind == 1 else -0.4
            mask[disc] = kind
        return image[None], mask
