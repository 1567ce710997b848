"""Single-shot detector on synthetic squares: class scores and box offsets per anchor."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


@dataclass
class Config:
    image_size: int = 64
    stride: int = 8
    sizes: tuple = (10.0, 16.0, 24.0)
    num_classes: int = 4  # background + 3 colours
    batch_size: int = 8
    steps: int = 16


def make_anchors(cfg: Config) -> Tensor:
    """(H * W * A, 4) anchors as cx, cy, w, h; the anchors of one cell are neighbours."""
    n = cfg.image_size // cfg.stride
    centers = (torch.arange(n) + 0.5) * cfg.stride
    cy, cx = torch.meshgrid(centers, centers, indexing="ij")
    out = [torch.stack([cx, cy, torch.full_like(cx, s), torch.full_like(cy, s)], -1) for s in cfg.sizes]
    return torch.stack(out, dim=2).reshape(-1, 4)


class Squares(Dataset):
    def __init__(self, cfg: Config, n: int):
        self.cfg, self.n = cfg, n
        self.anchors = make_anchors(cfg)

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        size = self.cfg.image_size
        image = 0.1 * torch.randn(3, size, size, generator=g)
        labels = torch.zeros(len(self.anchors), dtype=torch.long)
        offsets = torch.zeros(len(self.anchors), 4)
        for _ in range(3):
            colour = int(torch.randint(3, (1,), generator=g))
            w = float(torch.randint(8, 25, (1,), generator=g))
            cx, cy = (torch.rand(2, generator=g) * (size - w) + w / 2).tolist()
            x0, y0 = int(cx - w / 2), int(cy - w / 2)
            image[colour, y0 : y0 + int(w), x0 : x0 + int(w)] += 1.0
            box = torch.tensor([cx, cy, w, w])
            near = ((self.anchors[:, :2] - box[:2]).abs().amax(1) < self.cfg.stride) & (
                (self.anchors[:, 2] - w).abs() < 5
            )
            labels[near] = colour + 1
            offsets[near] = torch.cat(
                [(box[:2] - self.anchors[near, :2]) / self.anchors[near, 2:], (box[2:] / self.anchors[near, 2:]).log()],
                dim=1,
            )
        return image, labels, offsets


class Detector(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.num_classes = cfg.num_classes
        a = len(cfg.sizes)
        layers, c = [], 3
        for width in (16, 32, 32):
            layers += [nn.Conv2d(c, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            c = width
        self.backbone = nn.Sequential(*layers)
        self.cls_head = nn.Conv2d(c, a * cfg.num_classes, 3, padding=1)
        self.box_head = nn.Conv2d(c, a * 4, 3, padding=1)

    def forward(self, images: Tensor):
        f = self.backbone(images)
        n = f.size(0)
        cls = self.cls_head(f).view(n, -1, self.num_classes)  # MISTAKE: view-instead-of-permute
        box = self.box_head(f).permute(0, 2, 3, 1).reshape(n, -1, 4)
        return cls, box


def detection_loss(cls, box, labels, offsets):
    positive = labels > 0
    cls_loss = F.cross_entropy(cls.flatten(0, 1), labels.flatten())
    box_loss = F.smooth_l1_loss(box[positive], offsets[positive])
    return cls_loss, box_loss


def main():
    cfg = Config()
    torch.manual_seed(0)
    loader = DataLoader(Squares(cfg, cfg.batch_size * cfg.steps), batch_size=cfg.batch_size)
    model = Detector(cfg)
    opt = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for step, (images, labels, offsets) in enumerate(loader):
        cls_loss, box_loss = detection_loss(*model(images), labels, offsets)
        opt.zero_grad()
        (cls_loss + box_loss).backward()
        opt.step()
        if step % 5 == 0:
            print(f"step {step:3d}  cls {cls_loss.item():.3f}  box {box_loss.item():.3f}")


if __name__ == "__main__":
    main()
