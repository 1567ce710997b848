"""python -m safe_ce demo: a small classifier trained soundly, then five classic mistakes and what is said of them."""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safe_ce.findings import SafeCrossEntropyError
from safe_ce.loss import SafeCrossEntropyLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 64
EPOCHS = 6
TRAINED = 1400
LABELS = 10


def digits() -> tuple[Tensor, Tensor]:
    """1,797 handwritten digits: images (N, 1, 8, 8) float32 in [0, 1] and labels (N,) int64.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    1998, https://doi.org/10.24432/C50P49, CC BY 4.0; the test part, 64 pixels of 0 to 16 and the label in each row.
    """
    packed = files("safe_ce").joinpath("digits.gz").read_bytes()
    table = torch.frombuffer(bytearray(gzip.decompress(packed)), dtype=torch.uint8).view(-1, 65)
    return table[:, :64].reshape(-1, 1, 8, 8).float() / 16, table[:, 64].long()


def network(classes: int = LABELS) -> nn.Sequential:
    """(N, 1, 8, 8) images to (N, classes) scores."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 4 * 4, classes)
    )


def batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(images))
    for chosen in order.split(BATCH):
        yield images[chosen], labels[chosen]


def train(
    model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor, epochs: int
) -> Iterator[float]:
    """Train, and yield the mean loss of each epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        losses = []
        for inputs, targets in batches(images, labels):
            loss = criterion(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        yield torch.stack(losses).mean().item()


def main() -> int:
    """Run the demo; the exit status is 0 when every mistake was named."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more only get in each other's way over images this small
    images, labels = digits()
    print(f"{len(images):,} handwritten digits of 8 x 8 pixels, 10 classes, batches of {BATCH}.\n")
    print("A sound program, with SafeCrossEntropyLoss in place of nn.CrossEntropyLoss:\n")
    model = network()
    for epoch, loss in enumerate(train(model, SafeCrossEntropyLoss(), images[:TRAINED], labels[:TRAINED], EPOCHS), 1):
        accuracy = (model(images[TRAINED:]).argmax(1) == labels[TRAINED:]).float().mean().item()
        print(f"  epoch {epoch}  loss {loss:.3f}  test accuracy {accuracy:.1%}", flush=True)
    print("\n  Nothing was found, and every loss was native's own.\n")
    print("The same program with one mistake at a time:")
    named = [_shown(title, line, program, images, labels) for title, line, program in MISTAKES]
    print("\nThe whole catalogue: python -m safe_ce explain")
    return 0 if all(named) else 1


def _shown(title: str, line: str, program: Callable[[Tensor, Tensor], None], images: Tensor, labels: Tensor) -> bool:
    print(f"\n{'-' * 100}\n{title}\n\n    {line}\n", flush=True)
    try:
        program(images[:TRAINED], labels[:TRAINED])
    except SafeCrossEntropyError as error:
        print(f"safe_ce.SafeCrossEntropyError: {error}")
        return True
    print("  Nothing was found.")
    return False


def _softmax(images: Tensor, labels: Tensor) -> None:
    model = nn.Sequential(network(), nn.Softmax(dim=1))
    *_, loss = train(model, nn.CrossEntropyLoss(), images, labels, EPOCHS)
    print(f"  nn.CrossEntropyLoss says nothing; after {EPOCHS} epochs its loss is {loss:.3f}. SafeCrossEntropyLoss:\n")
    next(train(model, SafeCrossEntropyLoss(), images, labels, 1))


def _one_hot(images: Tensor, labels: Tensor) -> None:
    next(train(network(), SafeCrossEntropyLoss(), images, F.one_hot(labels, LABELS), 1))


def _ragged(images: Tensor, labels: Tensor) -> None:
    model, criterion = network(), SafeCrossEntropyLoss()
    buffer = torch.zeros(BATCH, dtype=torch.int64)
    for inputs, targets in batches(images, labels):
        buffer[: len(targets)] = targets
        criterion(model(inputs), buffer)


def _folded(images: Tensor, labels: Tensor) -> None:
    features, head = network()[:3], nn.Linear(64, LABELS)
    for inputs, targets in batches(images, labels):
        SafeCrossEntropyLoss()(head(features(inputs).view(-1, 64)), targets)


def _from_one(images: Tensor, labels: Tensor) -> None:
    next(train(network(), SafeCrossEntropyLoss(), images, labels + 1, 1))


MISTAKES = (
    ("Softmax in the model", "model = nn.Sequential(network(), nn.Softmax(dim=1))", _softmax),
    ("A one-hot target", "targets = F.one_hot(targets, 10)", _one_hot),
    ("A ragged last batch", "buffer[: len(targets)] = targets; loss = criterion(model(inputs), buffer)", _ragged),
    ("view(-1, k) that folds features into the batch", "logits = head(features(inputs).view(-1, 64))", _folded),
    ("Labels that start at 1", "targets = targets + 1", _from_one),
)
