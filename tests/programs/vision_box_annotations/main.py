"""A detector head trained on annotated boxes."""

import torch
from annotations import ShapesDataset, split_targets
from detector import SingleBoxDetector
from torch.utils.data import DataLoader

BOX_WEIGHT = 5.0


def main():
    torch.manual_seed(0)
    loader = DataLoader(ShapesDataset(256), batch_size=16, shuffle=True, num_workers=0)
    model = SingleBoxDetector(num_classes=3)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)

    for epoch in range(3):
        sums = {"cls": 0.0, "box": 0.0}
        for images, rows in loader:
            boxes, labels = split_targets(rows)
            losses = model.losses(model(images), boxes, labels)
            loss = losses["cls"] + BOX_WEIGHT * losses["box"]
            opt.zero_grad()
            loss.backward()
            opt.step()
            for k in sums:
                sums[k] += losses[k].item() / len(loader)
        print(epoch, {k: round(v, 4) for k, v in sums.items()})


if __name__ == "__main__":
    main()
