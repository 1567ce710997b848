"""The two sides of a batch against each other: how many samples each has, and how large they are."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from safe_ce.auditing.batches import first_tensor
from safe_ce.auditing.counting import Place, Seen
from safe_ce.auditing.loading import ROWS
from safe_ce.causes.cause import plural

WORDS = 10
"""How many times as many words as tags there are, at least."""


class Rows:
    """How many inputs and how many targets the batches have."""

    def __init__(self) -> None:
        self.usual: int | None = None
        """The rows of the first batch."""
        self.last = 0
        self.total = 0
        self.smallest, self.largest = math.inf, 0
        self.unusual = Seen()
        """Batches of another size than the first."""
        self.dropped = Seen()
        """Batches of fewer samples than the sampler asked for."""
        self.equal = 0
        self.unequal = Seen()
        """Batches of which the inputs are more or fewer than the targets."""
        self.one_sided = Seen()
        """Those of them where one side has as many as the sampler asked for, and the other has fewer."""
        self.ratios: set[float] = set()
        self.near = True
        """Whether the two sides never differ by as much as half."""
        self.elsewhere = True
        """Whether the inputs have the samples in their second dimension wherever they differ."""
        self.first = False
        """Whether they were seen to have them in the first, and not in the second."""
        self.alike = 0
        """How often the larger side is as large as where they first differ: samples that come alone are not."""
        self._largest: int | None = None
        self.steady = True
        """Whether there are as many targets as usual wherever they differ."""

    def add(self, source: Any, target: Any, place: Place) -> bool:
        """Count a batch; True where it is like the first, with as many inputs as targets."""
        targets = place.rows
        self.last = targets
        self.total += targets
        if self.usual is None:
            self.usual = targets
        elif targets != self.usual:
            self.unusual.add_whole(place, plural(targets, "sample"))
        self.smallest, self.largest = min(self.smallest, targets), max(self.largest, targets)
        asked = len(place.asked) if isinstance(place.asked, ROWS) else None
        inputs = rows_of(source, targets, asked)
        if inputs is None:
            return False
        if inputs == targets:
            self.equal += 1
            self.first = self.first or _second(source) not in (None, targets)
            if asked is not None and asked > targets:
                self.dropped.add_whole(place, f"{targets} of {asked} samples")
                return False
            return targets == self.usual
        said = f"{plural(inputs, 'input')}, {plural(targets, 'target')}"
        self.unequal.add_whole(place, said)
        few, many = sorted((inputs, targets))
        self._largest = many if self._largest is None else self._largest
        self.alike += many == self._largest
        if asked == many:
            self.one_sided.add_whole(place, said)
        self.near = self.near and asked in (None, many) and many < 2 * max(few, 1)
        self.near = self.near and not _may_be_lengths(source, target)
        self.elsewhere = self.elsewhere and _second(source) == targets
        self.steady = self.steady and targets == self.usual
        # A row of features may by chance be as long as the batch.
        self.elsewhere = self.elsewhere and (source.ndim > 2 or not source.is_floating_point() or not self.equal)
        if len(self.ratios) < 2:
            self.ratios.add(many / few if few else math.inf)
        return False

    def add_usual(self, batches: int) -> None:
        """Count batches that are like the first, with as many inputs as targets."""
        if batches and self.usual is not None:
            self.last = self.usual
            self.total += batches * self.usual
            self.equal += batches

    def ragged(self, *, pairs: bool) -> bool:
        """Whether rows that differ are a mistake, and not how the data are laid out.

        Args:
            pairs: Whether batches are pairs of an input and a target, as they are.
        """
        mostly = self.equal > self.unequal.batches
        if not self.unequal or (self.elsewhere and not self.first and not (mostly and self.steady)):
            return False  # none, or time comes first
        if mostly:
            return True
        scaled = len(self.ratios) == 1 and float(next(iter(self.ratios))).is_integer()
        if not self.equal and scaled:
            return False  # frames, crops or views of every sample
        near = self.near and 2 * self.alike >= self.unequal.batches
        return pairs and (near or self.one_sided.batches == self.unequal.batches)


class Sizes:
    """Whether targets of every pixel or step are as large as the inputs."""

    def __init__(self) -> None:
        self.equal = 0
        self.unequal = Seen()
        self.largest: int | None = None
        """The largest token of those that are not as long as their targets; None where they are pixels."""

    def add(self, source: Any, target: Any, place: Place) -> bool | None:
        """Count a batch; whether the two are equally large, or None where they are not to be compared."""
        pair = _sizes(source, target)
        if pair is None:
            return None
        inputs, targets = pair
        if inputs == targets:
            self.equal += 1
            return True
        self.unequal.add_whole(place, f"inputs of {_times(inputs)}, targets of {_times(targets)}")
        if len(inputs) == 1 and source.numel():
            self.largest = max(self.largest or 0, int(source.max()))
        return False

    def add_usual(self, batches: int, *, equal: bool | None) -> None:
        """Count batches that are like those before."""
        if equal:
            self.equal += batches
        elif equal is not None:
            self.unequal.batches += batches

    def odd(self, classes: int) -> bool:
        """Whether those that differ are a mistake: a model may well score fewer pixels than it sees, but not at times.

        A sentence and its translation are of one length only by chance. Tags, of each word one, are few beside the words.

        Args:
            classes: The number of classes.
        """
        tags = self.largest is None or self.largest >= WORDS * classes
        return self.equal > self.unequal.batches > 0 and tags


def rows_of(source: Any, targets: int, asked: int | None) -> int | None:
    """How many samples the inputs hold, or None where that cannot be told.

    Args:
        source: What a model reads first.
        targets: How many the target holds.
        asked: How many the sampler asked for, where that is known.
    """
    if isinstance(source, PackedSequence):
        return int(source.batch_sizes[0])
    if isinstance(source, (list, tuple)):
        # A few parts of all, or one for each sample.
        if {_length(part) for part in source} == {targets}:
            return targets
        return len(source) if len(source) in (targets, asked) else None
    return _length(first_tensor(source))


def _second(source: Any) -> int | None:
    """The size of a tensor's second dimension; None where it has none."""
    return source.size(1) if isinstance(source, Tensor) and not source.is_nested and source.ndim > 1 else None


def _may_be_lengths(source: Any, target: Any) -> bool:
    """Whether the first dimensions may be lengths: of sentences and translations, with time first or one at a time."""
    if not isinstance(source, Tensor) or not isinstance(target, Tensor) or source.is_nested or target.is_nested:
        return False
    if source.ndim == target.ndim == 1:
        return not source.is_floating_point()
    return _second(source) is not None and _second(source) == _second(target)


def _length(part: Any) -> int | None:
    return part.size(0) if isinstance(part, Tensor) and (part.is_nested or part.ndim) else None


def _sizes(source: Any, target: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Height and width, or length, of inputs and targets of every pixel or step; None where they have none."""
    if not isinstance(source, Tensor) or not isinstance(target, Tensor) or source.is_nested or target.is_nested:
        return None
    if target.ndim > 2 and source.ndim == target.ndim + 1:
        return tuple(source.shape[2:]), tuple(target.shape[1:])
    tokens = target.ndim == 2 and source.ndim == 2 and not source.is_floating_point()
    return ((source.size(1),), (target.size(1),)) if tokens and not target.is_floating_point() else None


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
