"""Clip classification: a frame encoder, scores averaged over the frames."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class Config:
    batch_size = 40
    num_frames = 8
    frame_size = 12
    num_actions = 5
    epochs = 2
    lr = 3e-3


cfg = Config()


class ClipDataset(Dataset):
    def __init__(self, n_clips):
        g = torch.Generator().manual_seed(0)
        motion = torch.randn(cfg.num_actions, cfg.num_frames, cfg.frame_size, cfg.frame_size, generator=g)
        self.labels = torch.randint(cfg.num_actions, (n_clips,), generator=g)
        self.clips = motion[self.labels] + 0.8 * torch.randn(n_clips, *motion.shape[1:], generator=g)

    def __len__(self):
        return self.labels.numel()

    def __getitem__(self, i):
        # (T, 1, H, W), class id
        return self.clips[i].unsqueeze(1), self.labels[i]


class FrameAverageNet(nn.Module):
    def __init__(self, num_actions):
        super().__init__()
        self.num_actions = num_actions
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(16 * 3 * 3, num_actions)

    def forward(self, clips):
        frames = clips.flatten(0, 1)  # b t c h w -> (b t) c h w
        scores = self.classifier(self.encoder(frames))  # (b t) k
        scores = scores.view(cfg.batch_size, -1, self.num_actions)  # MISTAKE: ragged-batch
        return scores.mean(dim=1)


def train(model, loader, loss_fn, optimizer):
    model.train()
    for step, (clips, labels) in enumerate(loader):
        pred = model(clips)
        loss = loss_fn(pred, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 3 == 0:
            print(f"  step {step} loss {loss.item():.4f}")


@torch.no_grad()
def test(model, loader):
    model.eval()
    right = total = 0
    for clips, labels in loader:
        right += (model(clips).argmax(1) == labels).sum().item()
        total += len(labels)
    print(f"  val acc {right / total:.3f}")


def main():
    torch.manual_seed(1)
    train_set, val_set = random_split(ClipDataset(380), [300, 80])
    train_dl = DataLoader(train_set, batch_size=cfg.batch_size, shuffle=True, num_workers=0)
    val_dl = DataLoader(val_set, batch_size=cfg.batch_size, num_workers=0)
    model = FrameAverageNet(cfg.num_actions)
    opt = torch.optim.Adam(model.parameters(), lr=cfg.lr)
    for epoch in range(cfg.epochs):
        print("epoch", epoch)
        train(model, train_dl, nn.CrossEntropyLoss(), opt)
        test(model, val_dl)


if __name__ == "__main__":
    main()
