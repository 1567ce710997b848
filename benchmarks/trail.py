"""A training step inside a trail and the same step without one, and what a trail holds however long training goes on.

The guard is around both, so that the trail alone differs.
"""

from __future__ import annotations

import gc
import timeit
import tracemalloc
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

import safe_ce
from benchmarks import timing
from benchmarks.record import Kept, Trailed
from safe_ce import recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from torch.optim import Optimizer

    from benchmarks.timing import Contestant, Effort

COMPARED = 20
"""Steps after which losses, parameters and buffers must be the same to the bit."""

FULL, QUICK = (1_000, 10_000), (500, 1_000)
"""Steps after which it is counted what a trail holds: at the first it is long full."""

KIB = 2**10


class Task(NamedTuple):
    """A model, and the batch that it is trained on."""

    model: nn.Module
    input: Tensor
    target: Tensor


class Training(NamedTuple):
    """A model, and a training step of it, which returns the loss."""

    model: nn.Module
    step: Callable[[], Tensor]


def measure(effort: Effort) -> Iterator[Trailed]:
    """What a step of each model with each optimizer takes, inside a trail and without."""
    for case, task in TASKS.items():
        for name, optimizer in OPTIMIZERS.items():
            with safe_ce.guarded():
                _compare(task, optimizer)
                step = _training(task, optimizer).step
                contestants = {"plain": _contestant(step, _outside), "trailed": _contestant(step, _inside)}
                times = timing.interleaved(contestants, effort)
            plain, trailed = (timing.quiet(times[name]) for name in ("plain", "trailed"))
            yield Trailed(
                case=case,
                optimizer=name,
                plain_us=plain,
                trailed_us=trailed,
                ratio=trailed / plain,
                paired=timing.spread(times["trailed"], times["plain"]),
                rounds=len(times["plain"]),
                compared=COMPARED,
            )


def held(lengths: tuple[int, ...]) -> Iterator[Kept]:
    """What one trail holds after so many steps and after so many more, of a model whose state is carried on."""
    step = _recurrent()
    step()  # what a first step imports is not a trail's
    done = 0
    tracemalloc.start()
    try:
        with safe_ce.guarded(), safe_ce.trail():
            recorder = recording.active()
            assert recorder is not None
            for steps in lengths:
                for _ in range(steps - done):
                    step()
                done = steps
                gc.collect()
                traced, _ = tracemalloc.get_traced_memory()
                yield Kept(steps=steps, records=len(recorder), python_kib=traced / KIB)
    finally:
        tracemalloc.stop()


def _compare(task: Callable[[], Task], optimizer: Callable[..., Optimizer]) -> None:
    losses, state = _trained(task, optimizer)
    with safe_ce.trail():
        trailed_losses, trailed_state = _trained(task, optimizer)
    assert losses == trailed_losses, "losses differ inside a trail"
    for name, tensor in state.items():
        assert torch.equal(tensor, trailed_state[name]), f"{name} differs inside a trail"


def _trained(task: Callable[[], Task], optimizer: Callable[..., Optimizer]) -> tuple[list[float], dict[str, Tensor]]:
    training = _training(task, optimizer)
    losses = [training.step().item() for _ in range(COMPARED)]
    return losses, training.model.state_dict()


def _training(task: Callable[[], Task], optimizer: Callable[..., Optimizer]) -> Training:
    torch.manual_seed(0)
    model, input, target = task()
    updates = optimizer(model.parameters())
    criterion = nn.CrossEntropyLoss()

    def step() -> Tensor:
        updates.zero_grad()
        loss: Tensor = criterion(model(input), target)
        loss.backward()
        updates.step()
        return loss

    return Training(model, step)


def _contestant(
    step: Callable[[], Tensor], around: Callable[[Callable[[], Tensor]], AbstractContextManager[None]]
) -> Contestant:
    # Records live on, so that a trail costs collections of garbage, which timeit would put off.
    timer = timeit.Timer(step, "gc.enable()", globals={"gc": gc})
    return timing.Contestant(timer, number=1, calls=1, around=partial(around, step))


@contextmanager
def _outside(step: Callable[[], Tensor]) -> Iterator[None]:
    step()
    yield


@contextmanager
def _inside(step: Callable[[], Tensor]) -> Iterator[None]:
    """A trail as it is later in training: it lets go of a record for each that it takes, and knows the parameters."""
    with safe_ce.trail():
        gone = [torch.zeros(()) for _ in range(recording.LATEST)]
        del gone
        step()
        yield


def _convolutional() -> Task:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    return Task(model, torch.randn(32, 3, 32, 32), torch.randint(10, (32,)))


class Transformer(nn.Module):
    """Token ids of (batch, length) to the scores of as many next tokens in a row."""

    def __init__(self, tokens: int, length: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.places = nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=4 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2)
        self.scores = nn.Linear(width, tokens)

    @override
    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.layers(self.tokens(ids) + self.places))
        return scores.flatten(0, 1)


def _attentive() -> Task:
    ids = torch.randint(100, (16, 33))
    return Task(Transformer(100, 32, 64), ids[:, :-1], ids[:, 1:].flatten())


def _recurrent() -> Callable[[], Tensor]:
    torch.manual_seed(0)
    cell, scores = nn.GRUCell(4, 8), nn.Linear(8, 3)
    updates = torch.optim.Adam([*cell.parameters(), *scores.parameters()])
    inputs, target = torch.randn(8, 2, 4), torch.tensor([0, 1])
    criterion = nn.CrossEntropyLoss()
    state = torch.zeros(2, 8)

    def step() -> Tensor:
        nonlocal state
        state = state.detach()  # each step's is made from the last one's, and so on back to the first
        for input in inputs:
            state = cell(input, state)
        updates.zero_grad()
        loss: Tensor = criterion(scores(state), target)
        loss.backward()
        updates.step()
        return loss

    return step


TASKS: dict[str, Callable[[], Task]] = {
    "CNN, (32, 3, 32, 32)": _convolutional,
    "transformer, (16, 32) tokens": _attentive,
}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "SGD": partial(torch.optim.SGD, lr=1e-3, momentum=0.9),
    "Adam": partial(torch.optim.Adam, lr=1e-4),
}
