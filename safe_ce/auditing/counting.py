"""What is kept of a loader while it is gone through: running counts, and the first samples of each kind of thing.

Nothing grows with the number of batches.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from safe_ce.auditing.loading import index_at, shown_indices
from safe_ce.causes.evidence import NORMALIZED, zeros_and_ones
from safe_ce.findings import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIRST = 5
"""Samples that are named of each kind of thing."""

WINDOW = 10**6
"""Ids that are counted one by one where the number of classes is not known."""

HUGE = 2**31
"""What no class id comes near."""

OF_NAN = -(2**63)
"""NaN, cast to int64."""

SMALL = 1024
"""Ids of a batch that are counted together with those of others."""

TOGETHER = 64
"""Batches that are."""

VOID = 255
"""What masks use for pixels that do not count."""

KINDS = 64
"""Different bad ids that are told apart."""

NEGATIVE = -1e-6
"""How far below 0 a probability may be that was rounded."""

ROWS_KEPT = 64
"""Rows of soft targets that are no probabilities, of which the catalogue is asked."""


class Place(NamedTuple):
    """A batch: its number, its rows, what the sampler asked for, and whether its samples can be told apart."""

    number: int
    rows: int
    asked: Any
    told_apart: bool = True

    def sample(self, position: int, seen: str) -> Sample:
        """The sample at a position."""
        if not self.told_apart:
            return self.whole(seen)
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
        self.samples += islice(samples, FIRST - len(self.samples))

    def add_whole(self, place: Place, seen: str) -> None:
        """Count a batch, and keep it as a whole while there are few."""
        self.add(place.whole(seen) for _ in range(1))


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
        self.total = 0
        """Ids in all."""
        self.wrong: dict[int, int] = {}
        """Ids that no class has, and how often; of more than `KINDS` of them the first."""
        self.wrong_in_all = 0
        self.wrong_in = Seen()
        """Batches with such ids."""
        self.places: dict[int, Seen] = {}
        """Where the first of them are; and, of masks, those of `VOID`, which may be a class."""
        self.all_ignored = Seen()
        self.uncounted = 0
        """The largest id that was too large to be counted, without a number of classes."""
        self._ignored_outside = 0
        """How often `ignored` occurred, where it is no class."""
        self._together: Together | None = None
        self._counts = torch.zeros(classes or 1, dtype=torch.int64, device="cpu")

    @property
    def ignored_in_all(self) -> int:
        """How often `ignored` occurred."""
        inside = int(self._counts[self.ignored]) if 0 <= self.ignored < len(self._counts) else 0
        return inside + self._ignored_outside

    def add(self, ids: Tensor, place: Place) -> None:
        """Count a batch's ids: an integer tensor of at least one element, with the samples in its first dimension."""
        flat = ids.reshape(-1)
        self.total += len(flat)
        low, high = _bounds(flat)
        if low == high == self.ignored:
            self.all_ignored.add_whole(place, f"nothing but {self.ignored} in the labels")
        if not self._are_classes(low, high) and low <= self.ignored <= high:
            flat, low, high = self._without_ignored(flat)
        if self._are_classes(low, high) and (high != VOID or ids.ndim < 3 or self.classes is not None):
            self._count(flat, high)
        else:
            self._add_odd(ids, flat, place)

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
        low, high = _bounds(together)
        if self._are_classes(low, high):
            self.total += together.numel()
            self._count(together.reshape(-1), high)
            return
        for ids, place in zip(together, places, strict=True):
            self.add(ids, place)

    def know_classes(self, classes: int) -> None:
        """Take a number of classes that was not known when counting began."""
        self.settle()
        self.classes = classes

    def counts(self) -> dict[int, int]:
        """How often each id occurs that occurs at all, but for one that is ignored."""
        self.settle()
        where = self._counts.nonzero().reshape(-1)
        found = dict(zip(where.tolist(), self._counts[where].tolist(), strict=True))
        found.pop(self.ignored, None)
        for value, count in self.wrong.items():
            found[value] = found.get(value, 0) + count
        return dict(sorted(found.items()))

    def of_classes(self, classes: int) -> Tensor:
        """How often each class occurs, but for one that is ignored."""
        self.settle()
        own = self._counts[:classes].clone()
        if 0 <= self.ignored < len(own):
            own[self.ignored] = 0
        return torch.cat([own, own.new_zeros(classes - len(own))])

    def add_counts(self, counts: dict[int, int]) -> None:
        """Count ids that were met elsewhere."""
        for value, count in counts.items():
            self.total += count
            self._grow(value + 1)
            self._counts[value] += count

    def discount(self, count: int) -> None:
        """Leave so many zeros out of the counts: they stand for what is no id."""
        self._counts[0] -= count

    def _are_classes(self, low: int, high: int) -> bool:
        return low >= 0 and high < (self.classes or WINDOW)

    def _without_ignored(self, flat: Tensor) -> tuple[Tensor, int, int]:
        """Ids with classes in the place of those that are ignored, and their bounds."""
        ignored = flat == self.ignored
        count = int(ignored.count_nonzero())
        self._ignored_outside += count
        if count == len(flat):
            return flat[:0], 0, 0
        flat = flat.masked_fill(ignored, 0)
        self._counts[0] -= count
        return flat, *_bounds(flat)

    def _count(self, ids: Tensor, high: int) -> None:
        """Count ids from 0 to ``high``."""
        self._grow(high + 1)
        if high < len(ids) or ids.device.type != "cpu":
            found = torch.bincount(ids).cpu()
            self._counts[: len(found)] += found
        else:  # a table of all the classes would be larger than the batch
            self._counts.index_add_(0, ids.long(), _ONE.expand(len(ids)))

    def _grow(self, end: int) -> None:
        if end > len(self._counts):
            self._counts = torch.nn.functional.pad(self._counts, (0, end - len(self._counts)))

    def _add_odd(self, ids: Tensor, flat: Tensor, place: Place) -> None:
        flat = flat.long()
        wrong = (flat < 0) | (flat >= (self.classes or HUGE))
        valid = flat[~wrong]
        counted = valid[valid < (self.classes or WINDOW)]
        if counted.numel():
            self._count(counted, int(counted.max()))
        if len(counted) < len(valid):
            self.uncounted = max(self.uncounted, int(valid.max()))
        void = flat == VOID if self.classes is None and ids.ndim > 2 else None
        located = wrong if void is None else wrong | void
        values, counts = flat[located].unique(return_counts=True)
        rows = flat.view(ids.shape[0] if ids.ndim else 1, -1)
        for value, count in zip(values[:KINDS].tolist(), counts[:KINDS].tolist(), strict=True):
            if value not in self.places and len(self.places) == KINDS:
                continue
            seen, samples = self.places.setdefault(value, Seen()), []
            if len(seen.samples) < FIRST:
                said = f"label {value}" + (", which is what NaN becomes as an integer" if value == OF_NAN else "")
                at = first_of(samples_with(rows == value))
                samples = list(dict.fromkeys(place.sample(position, said) for position in at))
            seen.add(samples)
            if not 0 <= value < (self.classes or HUGE):
                self.wrong[value] = self.wrong.get(value, 0) + count
        count = int(wrong.count_nonzero())
        self.wrong_in_all += count
        if count:
            self.wrong_in.add(())


_ONE = torch.ones(1, dtype=torch.int64, device="cpu")


class Probabilities:
    """The class probabilities of a loader."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        """What the classes have in all."""
        self.rows = 0
        self.odd_rows = 0
        self.odd = Seen()
        self.kept: list[Tensor] = []
        """The first odd rows, float64."""
        self.one_hot = 0
        """Batches in which every row is one-hot."""
        self.batches = 0

    def add(self, rows: Tensor, place: Place) -> None:
        """Count a batch's rows, of shape (samples, ..., classes)."""
        classes = rows.shape[-1]
        flat = rows.detach().reshape(-1, classes)
        flat = flat if flat.dtype is torch.float64 else flat.float()
        totals = flat.sum(1)
        least, most, low, high = torch.stack([*totals.aminmax(), *flat.aminmax()]).tolist()
        self.batches += 1
        self.rows += len(flat)
        if least > 1 - NORMALIZED and most < 1 + NORMALIZED and low >= NEGATIVE:
            if self.one_hot == self.batches - 1 and low == 0 and high == 1:
                self.one_hot += zeros_and_ones(flat)
            self.sums = _added(self.sums, flat.sum(0, dtype=torch.float64).cpu())
            return
        off = ~((totals - 1).abs() <= NORMALIZED) | ~(flat.amin(1) >= NEGATIVE)
        sound = ~off | ((flat == 0) | (flat == 1)).all(1)  # several classes at once are counted, too
        self.sums = _added(self.sums, flat[sound].sum(0, dtype=torch.float64).cpu())
        self.odd_rows += int(off.sum())
        room = ROWS_KEPT - len(self.kept)
        self.kept += flat[off][:room].double().cpu().unbind()
        whose = off.reshape(rows.shape[0], -1)
        each = flat.reshape(len(rows), -1, classes)
        self.odd.add(place.sample(at, _said(each[at][whose[at]][0])) for at in first_of(samples_with(whose)))


class OneHot:
    """The one-hot integers of a form: a batch that is none may show that they are class ids of several positions."""

    def __init__(self) -> None:
        self.rows = 0
        self.ones = 0
        self.zeros = 0
        self.sums: Tensor | None = None
        """What the classes have in all."""
        self.empty_rows = 0
        """Rows without any."""
        self.empty = Seen()
        """Batches with such rows."""

    def add(self, target: Tensor, dim: int, place: Place) -> None:
        """Count a batch of zeros and ones whose classes are in a dimension."""
        ones = int(target.sum())
        self.rows += target.numel() // target.shape[dim]
        self.ones += ones
        self.zeros += target.numel() - ones
        self.sums = _added(self.sums, target.movedim(dim, 0).flatten(1).sum(1, dtype=torch.float64).cpu())
        empty = target.sum(dim) == 0
        count = int(empty.count_nonzero())
        if count:
            self.empty_rows += count
            self.empty.add(place.sample(at, "") for at in first_of(samples_with(empty)))


MOST_EMPTY = 1 / 8
"""The share of rows without a class up to which integers are taken for one-hot all the same."""


def is_one_hot(target: Tensor, dim: int, *, several: bool) -> bool:
    """Whether integers are zeros, and along a dimension a single one in nearly every row, or several.

    Rows without any are samples that nobody labelled.
    """
    if target.shape[dim] < 2 or not target.numel():
        return False
    low, high = _bounds(target.to(torch.int64))
    if low != 0 or high != 1 or several:
        return low == 0 and high == 1
    ones = target.sum(dim)
    return int(ones.max()) == 1 and int((ones == 0).count_nonzero()) <= MOST_EMPTY * ones.numel()


def samples_with(odd: Tensor) -> Tensor:
    """Which samples have a value that is odd."""
    return odd.flatten(1).any(1) if odd.ndim > 1 else odd


def first_of(samples: Tensor) -> list[int]:
    """The positions of the first of some samples."""
    return samples.nonzero()[:FIRST, 0].tolist()


def odd_values(part: Tensor) -> str:
    """How many values are NaN, or infinite where none is: ``"1 of 192 values is NaN"``."""
    nan = int(part.isnan().sum())
    count, what = (nan, "NaN") if nan else (int(part.isinf().sum()), "infinite")
    return f"{count:,} of {part.numel():,} values {'is' if count == 1 else 'are'} {what}"


def _bounds(ids: Tensor) -> tuple[int, int]:
    """The smallest and the largest of some integers, with one wait for a device."""
    low, high = torch.stack(torch.aminmax(ids)).tolist()
    return low, high


def _added(sums: Tensor | None, more: Tensor) -> Tensor:
    """Sums with those of another batch, unless that has another number of classes."""
    if sums is None:
        return more
    return sums + more if len(sums) == len(more) else sums


def _said(row: Tensor) -> str:
    if row.isnan().any():
        return "NaN in the row"
    if row.amin() < NEGATIVE:
        return f"down to {row.amin().item():.4g}"
    return f"the row sums to {row.sum().item():.4g}"
