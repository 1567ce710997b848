"""Trains a network to name the phone spoken in each frame of a recording."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

PHONES, FRAMES, BANDS = 12, 50, 20
spectra = torch.randn(PHONES, BANDS, generator=torch.Generator().manual_seed(3))


def utterances(count):
    """Each phone lasts five frames."""
    phones = torch.randint(PHONES, (count, FRAMES // 5)).repeat_interleave(5, dim=1)
    return spectra[phones] + 0.7 * torch.randn(count, FRAMES, BANDS), phones


class FrameClassifier(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.context = nn.Conv1d(BANDS, hidden, kernel_size=5, padding=2)
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, PHONES))

    def forward(self, frames):
        heard = self.context(frames.transpose(1, 2)).transpose(1, 2)
        return self.layers(heard)


def classes_second(scores):
    batch, frames, phones = scores.shape
    return scores.view(batch, phones, frames)  # MISTAKE: view-instead-of-permute


def frame_error_rate(model):
    frames, phones = utterances(16)
    with torch.no_grad():
        return (model(frames).argmax(dim=-1) != phones).float().mean().item()


torch.manual_seed(0)
model = FrameClassifier()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(1, 61):
    frames, phones = utterances(8)
    loss = cross_entropy(classes_second(model(frames)), phones)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step}: loss {loss.item():.3f}, frame errors {frame_error_rate(model):.2f}")
