"""Contrastive learning of images and their captions."""

# Two-tower contrastive training (image vector <-> caption), CLIP style
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class PairDataset(Dataset):
    def __init__(self, n=300, dim=40, vocab=50, length=8):
        g = torch.Generator().manual_seed(3)
        self.captions = torch.randint(1, vocab, (n, length), generator=g)
        table = torch.randn(vocab, dim, generator=g)
        self.images = table[self.captions].mean(1) + 0.05 * torch.randn(n, dim, generator=g)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return {"image": self.images[i], "caption": self.captions[i]}


class ImageTower(nn.Module):
    def __init__(self, dim, out):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, out))

    def forward(self, x):
        return F.normalize(self.net(x), dim=-1)


class TextTower(nn.Module):
    def __init__(self, vocab, out):
        super().__init__()
        self.emb = nn.EmbeddingBag(vocab, 64, mode="mean")
        self.fc = nn.Linear(64, out)

    def forward(self, ids):
        return F.normalize(self.fc(self.emb(ids)), dim=-1)


class ClipLoss(nn.Module):
    def __init__(self, batch_size, temperature=0.07):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(1 / temperature).log())
        self.register_buffer("labels", torch.arange(batch_size))  # MISTAKE: ragged-batch

    def forward(self, a, b):
        logits = self.log_scale.exp() * a @ b.t()
        return (F.cross_entropy(logits, self.labels) + F.cross_entropy(logits.t(), self.labels)) / 2


torch.manual_seed(0)
BATCH = 64
ds = PairDataset()
dl = DataLoader(ds, batch_size=BATCH, shuffle=True)
image_tower, text_tower = ImageTower(40, 32), TextTower(50, 32)
loss_fn = ClipLoss(BATCH)
params = [*image_tower.parameters(), *text_tower.parameters(), *loss_fn.parameters()]
opt = torch.optim.AdamW(params, lr=3e-3)

for epoch in range(4):
    for batch in dl:
        loss = loss_fn(image_tower(batch["image"]), text_tower(batch["caption"]))
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(f"epoch {epoch} loss {loss.item():.3f}")
