"""Trains a small residual network with label smoothing, warm-up and an averaged copy of its weights."""

import torch
from layers import resnet
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 5


def blobs(count):
    """A bright blob, somewhere along the row that the class says."""
    labels = torch.arange(count) % CLASSES
    images = 0.3 * torch.randn(count, 1, 15, 15)
    columns = torch.randint(1, 14, (count,)).tolist()
    for image, label, column in zip(images, labels.tolist(), columns, strict=True):
        image[0, 3 * label : 3 * label + 3, column - 1 : column + 2] += 2
    return TensorDataset(images, labels)


def evaluate(model, loader, criterion):
    model.eval()
    loss, correct = 0.0, 0
    with torch.inference_mode():
        for images, labels in loader:
            logits = model(images)
            loss += criterion(logits, labels).item()
            correct += (logits.argmax(dim=1) == labels).sum().item()
    model.train()
    return loss / len(loader), correct / len(loader.dataset)


def main():
    torch.manual_seed(4)
    train_loader = DataLoader(blobs(120), batch_size=20, shuffle=True)
    val_loader = DataLoader(blobs(50), batch_size=20)
    model = resnet(CLASSES)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    plain = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.05)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=6)
    for epoch in range(4):
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = smooth(model(images), labels)
            loss.backward()
            optimizer.step()
            warmup.step()
            averaged.update_parameters(model)
        print("epoch {}: loss {:.4f}, accuracy {:.2f}".format(epoch, *evaluate(model, val_loader, plain)))
    update_bn(train_loader, averaged)
    print("averaged: loss {:.4f}, accuracy {:.2f}".format(*evaluate(averaged, val_loader, plain)))


if __name__ == "__main__":
    main()
