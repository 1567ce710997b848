"""Slides of tissue as an archive holds them: bytes, and one row of annotations per slide."""

import numpy as np
import torch
from torch.utils.data import Dataset


def load_archive(count, num_classes, seed):
    """Images (count, 28, 28, 3) of bytes and labels (count, 1): there is one annotation for each slide."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=(count, 1))
    noise = generator.integers(60, size=(count, 28, 28, 3))
    images = (noise + 20 * labels[:, :, None, None]).astype(np.uint8)
    return {"images": images, "labels": labels}


class TissueDataset(Dataset):
    def __init__(self, count, num_classes, seed):
        archive = load_archive(count, num_classes, seed)
        self.images = archive["images"]
        self.labels = archive["labels"]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1).float().div(127.5).sub(1)
        return image, self.labels[index]  # MISTAKE: target-extra-dim
