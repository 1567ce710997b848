"""Trains a GRU to tag the frames of recordings of any length with sound events, with the classes moved to dim 1."""

import torch
from torch import nn

EVENTS = ["silence", "speech", "music", "dog", "car", "rain"]
BANDS = 16


def recordings(count, generator):
    """Batches of recordings of one length each; events last some frames."""
    spectra = torch.randn(len(EVENTS), BANDS, generator=generator)
    for _ in range(count):
        frames = int(torch.randint(3, 13, (1,), generator=generator))
        events = torch.randint(len(EVENTS), (8, frames), generator=generator)
        yield spectra[events] + 0.8 * torch.randn(8, frames, BANDS, generator=generator), events


class EventTagger(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.gru = nn.GRU(BANDS, hidden, num_layers=1, bidirectional=True)
        self.head = nn.Linear(2 * hidden, len(EVENTS))

    def forward(self, frames):
        heard, _ = self.gru(frames.permute(1, 0, 2))
        return self.head(heard).permute(1, 2, 0)


def segments(scores, threshold=0.5):
    """How many frames are tagged with a probability above the threshold."""
    return (scores.softmax(dim=1).amax(dim=1) > threshold).sum().item()


torch.manual_seed(0)
tagger = EventTagger()
criterion = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0, 1.0]))
optimizer = torch.optim.Adam(tagger.parameters(), lr=1e-2)
confident = seen = 0
for step, (frames, events) in enumerate(recordings(80, torch.Generator().manual_seed(7)), start=1):
    scores = tagger(frames)
    loss = criterion(scores, events)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    confident += segments(scores.detach())
    seen += events.numel()
    if step % 20 == 0:
        print(f"step {step}: loss {loss.item():.3f}, confident in {confident / seen:.2f} of the frames")
