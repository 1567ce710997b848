"""How fast `safe_ce.audit` goes through a loader, against the loader alone, in the same run."""

from __future__ import annotations

import timeit
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, TensorDataset

import safe_ce
from benchmarks import timing
from benchmarks.record import Audited
from benchmarks.timing import Contestant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.timing import Effort

IMAGES, SHAPE, CLASSES, BATCH = 60_000, (1, 28, 28), 10, 128
SHUFFLED, IN_ORDER = "shuffled", "in order"


def measure(effort: Effort) -> Iterator[Audited]:
    """An epoch of images in memory, shuffled and in order, alone and audited."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(IMAGES, *SHAPE, generator=generator)
    data = TensorDataset(images, torch.randint(CLASSES, (IMAGES,), generator=generator))
    for order in (SHUFFLED, IN_ORDER):
        loader = DataLoader(data, BATCH, shuffle=order == SHUFFLED)
        names = {"loader": loader, "audit": safe_ce.audit, "classes": CLASSES}
        times = timing.interleaved(
            {
                "alone": _epoch("for batch in loader: pass", names, len(loader)),
                "audited": _epoch("audit(loader, classes)", names, len(loader)),
            },
            effort,
        )
        alone, audited = (timing.quiet(times[name]) for name in ("alone", "audited"))
        yield Audited(
            loader=f"{IMAGES:,} images of {SHAPE}, {order}",
            alone_us=alone,
            audited_us=audited,
            throughput=alone / audited,
            paired=timing.spread(times["alone"], times["audited"]),
            rounds=len(times["alone"]),
        )


def _epoch(statement: str, names: dict[str, object], batches: int) -> Contestant:
    # With the garbage collector, which a loader's own objects keep busy.
    return Contestant(timeit.Timer(statement, "import gc; gc.enable()", globals=names), 1, batches, nullcontext)
