"""Going through a loader: which samples of its dataset a batch holds, and the random state as it was."""

from __future__ import annotations

import copy
import operator
import random
import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    default_collate,
    default_convert,
)
from torch.utils.data.dataloader import _SingleProcessDataLoaderIter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


ROWS = (list, range, tuple)
"""What samplers ask for, a batch at a time."""


class Samples:
    """A sampler, and what it has asked for that has not been loaded yet: with workers some batches ahead."""

    def __init__(self, sampler: Any, ahead: deque[Any]) -> None:
        self._sampler = sampler
        self._ahead = ahead

    def __iter__(self) -> Iterator[Any]:
        note, sampler = self._ahead.append, self._sampler
        one_after_the_other = type(sampler) is BatchSampler and type(sampler.sampler) is SequentialSampler
        for indices in sampler:
            # Lists that are kept for a while would cost a loader the memory that it uses again and again.
            note(range(indices[0], indices[0] + len(indices)) if one_after_the_other else _as_list(indices))
            yield indices

    def __len__(self) -> int:
        return len(self._sampler)


def _as_list(indices: Any) -> Any:
    """Indices as they are, but those of an array or a tensor as a list."""
    array = type(indices) is not list and (isinstance(indices, Tensor) or hasattr(indices, "__array_interface__"))
    return indices.tolist() if array else indices


class Watched:
    """A loader as it is gone through once, batch by batch.

    Attributes:
        ahead: What the sampler asked for, from the next batch on; empty where that is not known.
        in_order: Whether a batch is sure to hold its samples in the order in which they were asked for: a collate
            function of the user's own may sort them.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self.in_order = True
        self.ahead: deque[Any] = deque()
        self._loader: Any = loader
        self._told = _tells_its_samples(loader)
        if not self._told:
            return
        # The loader itself is left alone: its twin shares everything with it but the sampler that is listened to.
        twin: Any = copy.copy(loader)
        twin._iterator = None  # workers that persist, and an epoch that they are in
        name = "sampler" if twin.batch_sampler is None else "batch_sampler"
        vars(twin)[name] = Samples(getattr(loader, name), self.ahead)
        self._loader = twin
        self.in_order = twin.collate_fn in (default_collate, default_convert)

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self._loader)
        alone = self._told and type(iterator) is _SingleProcessDataLoaderIter
        return _drawn(iterator._next_data) if alone else iterator


def _drawn(next_data: Callable[[], Any]) -> Iterator[Any]:
    """What a loader without workers gives, but for the mark that it leaves for torch's profiler at every batch.

    That mark takes as long as most of what is looked at in a batch of small images.
    """
    try:
        while True:
            yield next_data()
    except StopIteration:
        return


def _tells_its_samples(loader: Any) -> bool:
    """Whether batches come in the order in which a sampler asks for them, from the start."""
    return (
        isinstance(loader, DataLoader)
        and type(loader).__iter__ is DataLoader.__iter__
        and not isinstance(loader.dataset, IterableDataset)
        and (loader.num_workers == 0 or getattr(loader, "in_order", True))
    )


def index_at(asked: Any, rows: int, position: int) -> int | None:
    """The index in the dataset of the sample at a position in a batch of so many rows, or None if it is not known.

    Args:
        asked: What the sampler asked for.
        rows: How many samples came.
        position: Which of them.
    """
    if not isinstance(asked, ROWS) or len(asked) != rows:
        return None  # some were dropped on the way, and those behind them moved up
    try:
        return operator.index(asked[position])
    except (TypeError, IndexError):
        return None


SHOWN = 5
"""Indices that are shown of many."""


def shown_indices(asked: Any) -> str:
    """``"dataset[32:48]"``, ``"dataset[7, 3, 5]"``, or nothing where they are not known."""
    if not isinstance(asked, ROWS) or not asked:
        return ""
    try:
        first, *others = map(operator.index, asked)
    except TypeError:
        return ""
    count = len(asked)
    if others and others == list(range(first + 1, first + count)):
        return f"dataset[{first}:{first + count}]"
    shown = ", ".join(map(str, [first, *others][:SHOWN]))
    return f"dataset[{shown}{', ...' if count > SHOWN else ''}]"


def length_of(loader: Any) -> int | None:
    """The number of batches, or None where it is not known, or not known without a trace."""
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
        return None  # asked for its length, it would warn of every batch beyond
    try:
        return len(loader)
    except Exception:  # whatever a loader of another kind raises: the length is only shown
        return None


@contextmanager
def random_state_kept(loader: Any) -> Iterator[None]:
    """Leave every random state as it was: what is trained after an audit is what would have been without."""
    samplers = [loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler"))]
    samplers.append(getattr(samplers[-1], "sampler", None))
    found = {id(own): own for own in (getattr(sampler, "generator", None) for sampler in samplers)}
    generators = [(own, own.get_state()) for own in found.values() if isinstance(own, torch.Generator)]
    python = random.getstate()
    numpy = sys.modules.get("numpy")
    legacy = None if numpy is None else numpy.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(legacy)
        for own, state in generators:
            own.set_state(state)
