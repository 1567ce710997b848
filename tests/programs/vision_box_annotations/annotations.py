"""Synthetic one-object-per-image detection data.

Every annotation row is ``cx, cy, w, h, class`` (floats, as in the label files).
"""

import numpy as np
import torch
from torch.utils.data import Dataset


class ShapesDataset(Dataset):
    SIZE = 24

    def __init__(self, length, num_classes=3, seed=0):
        rng = np.random.default_rng(seed)
        self.images = rng.normal(0, 0.1, (length, 3, self.SIZE, self.SIZE)).astype(np.float32)
        self.rows = np.zeros((length, 5), dtype=np.float32)
        for i in range(length):
            w, h = rng.integers(6, 12, size=2)
            x0, y0 = rng.integers(0, self.SIZE - w), rng.integers(0, self.SIZE - h)
            cls = rng.integers(num_classes)
            self.images[i, cls, y0 : y0 + h, x0 : x0 + w] += 1.0
            self.rows[i] = [(x0 + w / 2) / self.SIZE, (y0 + h / 2) / self.SIZE, w / self.SIZE, h / self.SIZE, cls]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return torch.from_numpy(self.images[index]), torch.from_numpy(self.rows[index])


def split_targets(rows):
    """(N, 5) annotation rows -> boxes and class labels."""
    boxes = rows[:, :4]
    labels = rows[:, 4:].long()  # MISTAKE: target-extra-dim
    return boxes, labels
