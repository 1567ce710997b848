"""What is kept of a loader while it is gone through: running counts, and the first samples of each kind of thing.

Nothing grows with the number of batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from safe_ce.auditing.loading import index_at, shown_indices
from safe_ce.causes.evidence import NORMALIZED
from safe_ce.findings import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIRST = 5
"""Samples that are named of each kind of thing."""

WINDOW = 10**6
"""Ids that are counted one by one."""

BELOW = -1024
"""The lowest of them."""

SMALL = 1024
"""Ids of a batch that are counted together with those of others."""

TOGETHER = 64
"""Batches that are."""

VOID = 255
"""What masks use for pixels that do not count."""

KINDS = 64
"""Different bad ids that are told apart."""


class Place(NamedTuple):
    """A batch: its number, its rows, and what the sampler asked for."""

    number: int
    rows: int
    asked: Any

    def sample(self, position: int, seen: str) -> Sample:
        """The sample at a position."""
        return Sample(self.number, position, index_at(self.asked, self.rows, position), seen)

    def whole(self, seen: str) -> Sample:
        """The batch as a whole, with the samples that it was made of."""
        which = shown_indices(self.asked)
        return Sample(self.number, seen=f"{seen} of {which}" if which else seen)


class Seen:
    """How many batches show something, and the first samples that do."""

    def __init__(self) -> None:
        self.batches = 0
        self.samples: list[Sample] = []

    def __bool__(self) -> bool:
        return self.batches > 0

    def add(self, samples: Iterable[Sample]) -> None:
        """Count a batch, and keep its samples while there are few."""
        self.batches += 1
        if len(self.samples) < FIRST:
            self.samples += list(samples)[: FIRST - len(self.samples)]


class Together:
    """Class ids of small batches of one size, which wait to be counted at once.

    Everything is copied: held tensors and lists would scatter the memory that a loader uses over and over, and many small
    objects would set off the garbage collector. Some loaders, too, fill the same tensor again.
    """

    def __init__(self, ids: Tensor) -> None:
        self._ids = ids.new_empty(TOGETHER, len(ids))
        self._copies = self._ids.unbind()
        self._indices: list[Any] = [None] * self._ids.numel()
        self._asked: list[Any] = []
        """What was asked for, for each copy, or that it is a list, in `_indices`."""
        self._first = 0

    def __len__(self) -> int:
        return len(self._asked)

    def fits(self, ids: Tensor) -> bool:
        """Whether a batch is like those that may wait here."""
        first = self._copies[0]
        return first.shape == ids.shape and first.dtype is ids.dtype and first.device == ids.device

    def add(self, ids: Tensor, number: int, asked: Any) -> bool:
        """Have a batch wait, the next one in number; True where there is no room for more."""
        at = len(self._asked)
        if not at:
            self._first = number
        self._copies[at].copy_(ids)
        if type(asked) is list:
            self._indices[at * len(asked) : (at + 1) * len(asked)] = asked
            asked = list
        self._asked.append(asked)
        return at + 1 == TOGETHER

    def take(self) -> tuple[Tensor, Iterator[Place]]:
        """The ids that wait, a row for each batch, and the batches; none of them waits any more."""
        asked, self._asked = self._asked, []
        rows = self._ids.shape[1]
        indices = (self._indices[at * rows : (at + 1) * rows] if own is list else own for at, own in enumerate(asked))
        return self._ids[: len(asked)], (Place(self._first + at, rows, own) for at, own in enumerate(indices))


class Ids:
    """The class ids of a loader."""

    def __init__(self, classes: int | None, ignored: int) -> None:
        self.classes = classes
        self.ignored = ignored
        self.bad: dict[int, Seen] = {}
        """Ids that no class has; where the number of classes is not known, those that may be none."""
        self.all_ignored = Seen()
        self.beyond: dict[int, int] = {}
        """Ids outside the window, and how often."""
        self._together: Together | None = None
        self._lowest = 0
        self._counts = torch.zeros(classes or 1, dtype=torch.int64)

    def add(self, ids: Tensor, place: Place) -> None:
        """Count a batch's ids: an integer tensor of at least one element, with the samples in its first dimension."""
        low, high = (bound.item() for bound in ids.aminmax())
        if low == high == self.ignored:
            self.all_ignored.add([place.whole(f"nothing but {self.ignored} in the labels")])
        if low < 0 or high >= (self.classes or WINDOW) or (high == VOID and ids.ndim > 2):
            self._add_odd(ids, place)
        else:
            self._count(ids.reshape(-1), 0)

    def together_with(self, ids: Tensor) -> Together | None:
        """Where batches like this one wait, until they are settled; None where their ids are looked at one by one."""
        if ids.ndim != 1 or not 0 < len(ids) <= SMALL or 0 <= self.ignored < (self.classes or WINDOW):
            return None
        if self._together is None or not self._together.fits(ids):
            self._together = Together(ids)
        return self._together

    def settle(self) -> None:
        """Count what waits: at once, unless there is something odd in one of the batches."""
        if self._together is None or not len(self._together):
            return
        together, places = self._together.take()
        low, high = (bound.item() for bound in together.aminmax())
        if low >= 0 and high < (self.classes or WINDOW):
            self._count(together.reshape(-1), 0)
            return
        for ids, place in zip(together, places, strict=True):
            self.add(ids, place)

    def know_classes(self, classes: int) -> None:
        """Take a number of classes that was not known when counting began."""
        self.settle()
        self.classes = classes

    def counts(self) -> dict[int, int]:
        """How often each id occurs that occurs at all."""
        self.settle()
        where = self._counts.nonzero().reshape(-1)
        found = dict(zip((where + self._lowest).tolist(), self._counts[where].tolist(), strict=True))
        return dict(sorted((found | self.beyond).items()))

    def of_classes(self, classes: int) -> Tensor:
        """How often each class occurs."""
        self.settle()
        own = self._counts[-self._lowest :][:classes]
        return torch.cat([own, own.new_zeros(classes - len(own))])

    def add_counts(self, counts: dict[int, int]) -> None:
        """Count ids that were met elsewhere."""
        for value, count in counts.items():
            self._grow(0, value + 1)
            self._counts[value - self._lowest] += count

    def _count(self, ids: Tensor, lowest: int) -> None:
        found = torch.bincount(ids - lowest if lowest else ids, minlength=len(self._counts)).cpu()
        if lowest == self._lowest and len(found) == len(self._counts):
            self._counts += found
            return
        self._grow(lowest, lowest + len(found))
        self._counts[lowest - self._lowest :][: len(found)] += found

    def _grow(self, lowest: int, end: int) -> None:
        below = max(0, self._lowest - lowest)
        above = max(0, end - self._lowest - len(self._counts))
        if below or above:
            self._counts = torch.nn.functional.pad(self._counts, (below, above))
            self._lowest -= below

    def _add_odd(self, ids: Tensor, place: Place) -> None:
        flat = ids.reshape(-1).long()
        outside = (flat < BELOW) | (flat >= WINDOW)
        if outside.any():
            for value, count in zip(*(part.tolist() for part in flat[outside].unique(return_counts=True)), strict=True):
                if value in self.beyond or len(self.beyond) < KINDS:
                    self.beyond[value] = self.beyond.get(value, 0) + count
            inside = flat[~outside]
        else:
            inside = flat
        if inside.numel():
            self._count(inside, min(0, int(inside.min())))
        wrong = (flat < 0) | (flat >= (self.classes or WINDOW))
        if self.classes is None and ids.ndim > 2:
            wrong |= flat == VOID
        wrong &= flat != self.ignored
        if not wrong.any():
            return
        each = flat.numel() // ids.shape[0] if ids.ndim else 1
        for value in flat[wrong].unique()[:KINDS].tolist():
            seen = self.bad.get(value)
            if seen is None:
                if len(self.bad) == KINDS:
                    continue
                seen = self.bad[value] = Seen()
            places = (flat == value).nonzero().reshape(-1) // each if len(seen.samples) < FIRST else flat[:0]
            seen.add(place.sample(at, f"label {value}") for at in places.unique()[:FIRST].tolist())


class Probabilities:
    """The class probabilities of a loader."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        """What the classes have in all."""
        self.rows = 0
        self.odd_rows = 0
        self.odd = Seen()
        self.one_hot = 0
        """Batches in which every row is one-hot."""
        self.batches = 0

    def add(self, rows: Tensor, place: Place) -> Tensor | None:
        """Count a batch's rows.

        Args:
            rows: Of shape (samples, ..., classes).
            place: The batch.

        Returns:
            A batch in which every sample is odd, to be looked at more closely; None where there is none.
        """
        classes = rows.shape[-1]
        flat = rows.reshape(-1, classes)
        flat = flat if flat.dtype is torch.float64 else flat.float()
        totals = flat.sum(1)
        least, most = (bound.item() for bound in totals.aminmax())
        low, high = (bound.item() for bound in flat.aminmax())
        self.batches += 1
        self.rows += len(flat)
        sound = least > 1 - NORMALIZED and most < 1 + NORMALIZED and low >= -1e-6
        if self.one_hot == self.batches - 1 and sound and low == 0 and high == 1:
            self.one_hot += bool(((flat == 0) | (flat == 1)).all())
        if sound:
            self.sums = _added(self.sums, flat.sum(0, dtype=torch.float64).cpu())
            return None
        off = ~((totals - 1).abs() <= NORMALIZED) | ~(flat.amin(1) >= -1e-6)
        self.sums = _added(self.sums, flat[~off].sum(0, dtype=torch.float64).cpu())
        self.odd_rows += int(off.sum())
        whose = off.reshape(rows.shape[0], -1)
        samples = whose.any(1).nonzero().reshape(-1)
        self.odd.add(
            place.sample(at, _said(flat.reshape(len(rows), -1, classes)[at][whose[at]][0]))
            for at in samples[:FIRST].tolist()
        )
        return rows[samples]


class OneHot:
    """One-hot integers so far: a batch that is none shows that they are class ids of several positions."""

    def __init__(self) -> None:
        self.ones = 0
        self.zeros = 0
        self.sums: Tensor | None = None
        """What the classes have in all."""

    def add(self, target: Tensor, dim: int, *, several: bool) -> bool:
        """Count a batch whose classes are in a dimension; False where it is not one-hot, or multi-hot."""
        if not is_one_hot(target, dim, several=several):
            return False
        ones = int(target.sum())
        self.ones += ones
        self.zeros += target.numel() - ones
        self.sums = _added(self.sums, target.movedim(dim, 0).flatten(1).sum(1, dtype=torch.float64).cpu())
        return True


def is_one_hot(target: Tensor, dim: int, *, several: bool) -> bool:
    """Whether integers are zeros, and along a dimension a single one in every row, or several."""
    if target.shape[dim] < 2 or not target.numel():
        return False
    low, high = (int(bound) for bound in target.to(torch.int64).aminmax())
    return low == 0 and high == 1 and (several or bool((target.sum(dim) == 1).all()))


def _added(sums: Tensor | None, more: Tensor) -> Tensor:
    """Sums with those of another batch, unless that has another number of classes."""
    if sums is None:
        return more
    return sums + more if len(sums) == len(more) else sums


def _said(row: Tensor) -> str:
    if row.isnan().any():
        return "NaN in the row"
    if row.amin() < -1e-6:
        return f"down to {row.amin().item():.4g}"
    return f"the row sums to {row.sum().item():.4g}"
