"""Trains a classifier of sounds on studio recordings that shall also work on a phone's, by domain-adversarial training."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BATCH_SIZE = 32
BANDS, SOUNDS = 40, 5


class ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def recordings(count, centres, colour):
    sounds = torch.randint(SOUNDS, (count,))
    return TensorDataset(centres[sounds] * colour + 0.5 * torch.randn(count, BANDS), sounds)


def train(epochs=3):
    centres = torch.randn(SOUNDS, BANDS)
    studio = DataLoader(recordings(200, centres, torch.ones(BANDS)), batch_size=BATCH_SIZE, shuffle=True)
    phone = DataLoader(recordings(200, centres, torch.linspace(1.2, 0.3, BANDS)), batch_size=BATCH_SIZE, shuffle=True)

    encoder = nn.Sequential(nn.Linear(BANDS, 32), nn.ReLU())
    sound_head = nn.Linear(32, SOUNDS)
    domain_head = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
    modules = nn.ModuleList([encoder, sound_head, domain_head])
    optimizer = torch.optim.Adam(modules.parameters(), lr=2e-3)

    domains = torch.tensor([0, 1]).repeat_interleave(BATCH_SIZE)  # MISTAKE: ragged-batch
    for epoch in range(epochs):
        for (studio_x, studio_y), (phone_x, _) in zip(studio, phone, strict=True):
            features = encoder(torch.cat([studio_x, phone_x]))
            sound_loss = F.cross_entropy(sound_head(features[: len(studio_x)]), studio_y)
            domain_loss = F.cross_entropy(domain_head(ReverseGradient.apply(features, 0.3)), domains)
            optimizer.zero_grad()
            (sound_loss + domain_loss).backward()
            optimizer.step()
        print(f"epoch {epoch}: sounds {sound_loss.item():.3f}, domains {domain_loss.item():.3f}")


torch.manual_seed(0)
train()
