import torch.nn.functional as F
from torch import nn


def conv_bn_relu(cin, cout, stride):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


class SingleBoxDetector(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.backbone = nn.Sequential(
            conv_bn_relu(3, 16, 2),
            conv_bn_relu(16, 32, 2),
            conv_bn_relu(32, 32, 2),
        )
        self.neck = nn.Sequential(nn.Flatten(), nn.Linear(32 * 3 * 3, 64), nn.ReLU())
        self.cls_head = nn.Linear(64, num_classes)
        self.box_head = nn.Linear(64, 4)

    def forward(self, images):
        feats = self.neck(self.backbone(images))
        return {"scores": self.cls_head(feats), "boxes": self.box_head(feats).sigmoid()}

    def losses(self, out, boxes, labels):
        return {
            "cls": F.cross_entropy(out["scores"], labels),
            "box": F.smooth_l1_loss(out["boxes"], boxes, beta=0.1),
        }
