"""How fast `safe_ce.audit` goes through a loader, against the loader alone, in the same run."""

from __future__ import annotations

import timeit
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import safe_ce
from benchmarks import timing
from benchmarks.record import Audited
from benchmarks.timing import Contestant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.timing import Effort

SHUFFLED, IN_ORDER = "images, shuffled", "images, in order"


def measure(effort: Effort) -> Iterator[Audited]:
    """An epoch of loaders whose data are in memory, alone and audited."""
    for name, (loader, classes) in _loaders().items():
        names = {"loader": loader, "audit": safe_ce.audit, "classes": classes}
        times = timing.interleaved(
            {
                "alone": _epoch("for batch in loader: pass", names, len(loader)),
                "audited": _epoch("audit(loader, classes)", names, len(loader)),
            },
            effort,
        )
        alone, audited = (timing.quiet(times[who]) for who in ("alone", "audited"))
        yield Audited(
            loader=name,
            alone_us=alone,
            audited_us=audited,
            throughput=alone / audited,
            paired=timing.spread(times["alone"], times["audited"]),
            rounds=len(times["alone"]),
        )


def _loaders() -> dict[str, tuple[DataLoader[Any], int]]:
    """Loaders by name, each with its number of classes."""
    random = torch.Generator().manual_seed(0)
    images = TensorDataset(
        torch.rand(60_000, 1, 28, 28, generator=random), torch.randint(10, (60_000,), generator=random)
    )
    tokens = torch.randint(1000, (5000, 128), generator=random)
    masks = TensorDataset(
        torch.rand(1000, 3, 64, 64, generator=random), torch.randint(21, (1000, 64, 64), generator=random)
    )
    return {
        SHUFFLED: (DataLoader(images, 128, shuffle=True), 10),
        IN_ORDER: (DataLoader(images, 128), 10),
        "tokens": (DataLoader(TensorDataset(tokens, tokens), 32, shuffle=True), 1000),
        "masks": (DataLoader(masks, 16, shuffle=True), 21),
    }


def _epoch(statement: str, names: dict[str, object], batches: int) -> Contestant:
    # With the garbage collector, which a loader's own objects keep busy.
    return Contestant(timeit.Timer(statement, "import gc; gc.enable()", globals=names), 1, batches, nullcontext)
