"""Slides of tissue as an archive holds them: bytes, and one row of annotations per slide."""

import torch
from torch.utils.data import Dataset


def load_archive(count, num_classes, seed):
    """Images (count, 28, 28, 3) of bytes and labels (count, 1): there is one annotation for each slide."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (count, 1), generator=generator)
    noise = torch.randint(60, (count, 28, 28, 3), generator=generator)
    images = (noise + 20 * labels[:, :, None, None]).to(torch.uint8)
    return {"images": images, "labels": labels}


class TissueDataset(Dataset):
    def __init__(self, count, num_classes, seed):
        archive = load_archive(count, num_classes, seed)
        self.images = archive["images"]
        self.labels = archive["labels"]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index].permute(2, 0, 1).float().div(127.5).sub(1)
        return image, self.labels[index]  # MISTAKE: target-extra-dim
