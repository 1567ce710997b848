"""What is seen of a loader, batch by batch: cheap statistics, and a closer look only where one of them is odd."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from safe_ce import probe
from safe_ce.auditing.batches import rows_of, shown_tensor
from safe_ce.auditing.counting import FIRST, Ids, OneHot, Place, Probabilities, Seen
from safe_ce.auditing.forms import Form, Kind, form_of, key_of
from safe_ce.auditing.loading import ROWS
from safe_ce.call import Call
from safe_ce.diagnosis import findings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from safe_ce.auditing.batches import Read, Reader
    from safe_ce.findings import Finding

PAIRS = (list, tuple)

FORMS = 32
"""Forms of targets that are told apart."""


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
        self.ratios: set[float] = set()
        self.near = True
        self.elsewhere = True

    def add(self, source: Any, targets: int, place: Place) -> bool:
        """Count a batch; True where it is like the first, with as many inputs as targets."""
        self.last = targets
        self.total += targets
        if targets != self.usual:
            if self.usual is None:
                self.usual = targets
            else:
                self.unusual.add([place.whole(f"{targets} samples")])
        self.smallest, self.largest = min(self.smallest, targets), max(self.largest, targets)
        inputs = source.shape[0] if type(source) is Tensor and source.ndim else rows_of(source, targets)
        if inputs == targets or inputs is None:
            self.equal += inputs is not None
            asked = place.asked
            if isinstance(asked, ROWS) and len(asked) > targets:
                self.dropped.add([place.whole(f"{targets} of {len(asked)} samples")])
                return False
            return targets == self.usual and inputs is not None
        self.unequal.add([place.whole(f"{inputs} inputs, {targets} targets")])
        few, many = sorted((inputs, targets))
        self.near = self.near and many < 2 * max(few, 1)
        self.elsewhere = self.elsewhere and isinstance(source, Tensor) and source.shape[1:2] == (targets,)
        if len(self.ratios) < 2:
            self.ratios.add(many / few if few else math.inf)
        return False

    def add_usual(self, batches: int) -> None:
        """Count batches that are like the first, with as many inputs as targets."""
        if batches and self.usual is not None:
            self.last = self.usual
            self.total += batches * self.usual
            self.equal += batches

    @property
    def ragged(self) -> bool:
        """Whether rows that differ are a mistake, and not how the data are laid out."""
        if not self.unequal or self.elsewhere:
            return False  # none, or time comes first
        scaled = len(self.ratios) == 1 and float(next(iter(self.ratios))).is_integer()
        if not self.equal and scaled:
            return False  # frames, crops or views of every sample
        return self.near or self.equal > self.unequal.batches


class Usual(NamedTuple):
    """What batches look like of which nothing but the values needs a look: pairs of tensors like those before.

    Attributes:
        source: The shape of the inputs.
        target: The shape of the targets.
        dtype: Their dtype.
        rows: How many there are.
        form: Their form.
        floats: Whether the inputs are floating point.
        look: Looks at the targets of a batch, given its number and what was asked for; True where those that wait are to
            be settled.
    """

    source: torch.Size
    target: torch.Size
    dtype: torch.dtype
    rows: int
    form: Form
    floats: bool
    look: Callable[[Tensor, int, Any], bool]


class Tally:
    """What is seen of a loader.

    Attributes:
        classes: The number of classes, where it is known.
        ignored: The `ignore_index`.
    """

    def __init__(self, read: Reader, classes: int | None, ignored: int, weight: Tensor | None) -> None:
        self.classes = classes
        self.ignored = ignored
        self.input = ""
        self.dtype = torch.float32
        """That of the logits, by all likelihood."""
        self.rows = Rows()
        self.forms: dict[tuple[Any, ...], Form] = {}
        self.ids = Ids(classes, ignored)
        self.probabilities = Probabilities()
        self.odd_probabilities: Finding | None = None
        self.one_hot = OneHot()
        self.not_finite: dict[str, Seen] = {}
        self.weightless = Seen()
        """Batches in which every class that occurs has weight 0."""
        self._read = read
        self._weight = weight if weight is not None and bool((weight == 0).any()) else None
        self._usual: Usual | None = None
        self._batches = 0
        """Batches that are in all counts."""
        self._alike = 0
        """Usual ones since then."""

    @property
    def batches(self) -> int:
        """How many were seen."""
        return self._batches + self._alike

    def know_classes(self, classes: int) -> None:
        """Take a number of classes that was not known when counting began."""
        if self.classes is None:
            self.classes = classes
            self.ids.know_classes(classes)

    def add(self, batch: Any, asked: Any) -> None:
        """Look at a batch.

        Args:
            batch: The batch.
            asked: The indices that the sampler asked for, where they are known.
        """
        usual = self._usual
        if usual is not None and type(batch) in PAIRS and len(batch) == 2:
            source, target = batch
            if (
                type(target) is Tensor
                and type(source) is Tensor
                and target.shape == usual.target
                and source.shape == usual.source
                and target.dtype is usual.dtype
                and (asked is None or (type(asked) in ROWS and len(asked) == usual.rows))
            ):
                if usual.floats and not math.isfinite(source.sum().item()):
                    self._look_for_odd_inputs("input", source, Place(self.batches, usual.rows, asked))
                if usual.look(target, self._batches + self._alike, asked):
                    self.ids.settle()
                self._alike += 1
                return
        self._add_unusual(batch, asked)

    def settle(self) -> None:
        """Bring all counts up to date."""
        if self._usual is not None:
            self.rows.add_usual(self._alike)
            self._usual.form.seen.batches += self._alike
        self._batches, self._alike = self.batches, 0
        self.ids.settle()

    def _add_unusual(self, batch: Any, asked: Any) -> None:
        self.settle()
        read = self._read(batch)
        source, target = read.source, read.target
        single = isinstance(target, Tensor) and not target.ndim
        place = Place(self.batches, _length(target), [asked] if isinstance(asked, int) and single else asked)
        if not self.input:
            self.input = shown_tensor(source) if isinstance(source, Tensor) else type(source).__name__
        if any(tensor.dtype is torch.float64 for _, tensor in read.floats):
            self.dtype = torch.float64
        form = self._form_of(key_of(target), read)
        self._batches += 1
        usual = self.rows.add(None if single else source, place.rows, place)
        form.seen.add([place.whole(form.shown)])
        for name, tensor in read.floats:
            total = tensor.sum() if tensor.dtype is torch.float32 else tensor.sum(dtype=torch.float64)
            if not math.isfinite(total.item()):
                self._look_for_odd_inputs(name, tensor, place)
        self._add_values(form, target, place)
        # Of a sound form no more than the first batch is ever named.
        named = form.seen.batches >= FIRST or (form.kind is Kind.IDS and form.finding is None)
        if usual and named and self._read.pairs and type(source) is type(target) is Tensor:
            plain = form.kind is Kind.IDS and _is_counted(target) and self._weight is None
            together = self.ids.together_with(target) if plain else None
            look = self._looking(form) if together is None else together.add
            self._usual = Usual(
                source.shape, target.shape, target.dtype, place.rows, form, floats=bool(read.floats), look=look
            )

    def _looking(self, form: Form) -> Callable[[Tensor, int, Any], bool]:
        def look(target: Tensor, number: int, asked: Any) -> bool:
            self._add_values(form, target, Place(number, len(target), asked))
            return False

        return look

    def _add_values(self, form: Form, target: Any, place: Place) -> None:
        if form.kind is Kind.IDS:
            self._add_ids(target, place)
        elif form.kind is Kind.PROBABILITIES:
            self._add_probabilities(target, form.dim, place)
        elif form.kind is Kind.ONE_HOT and not self.one_hot.add(target, form.dim, several=form.several):
            # Not one-hot, but ids of as many positions, of which the first few happened to look like it.
            form.kind, form.finding = Kind.IDS, None
            self.ids.add_counts({0: self.one_hot.zeros, 1: self.one_hot.ones})
            self.one_hot = OneHot()
            self._add_ids(target, place)

    def _form_of(self, key: tuple[Any, ...], read: Read) -> Form:
        form = self.forms.get(key)
        if form is None:
            sums = self.probabilities.sums
            classes = self.classes if self.classes is not None or sums is None else len(sums)
            form = form_of(read.target, read.source, classes, self.ignored)
            if len(self.forms) < FORMS:
                self.forms[key] = form
        return form

    def _add_ids(self, target: Tensor, place: Place) -> None:
        if not target.numel():
            return
        if not _is_counted(target):
            values = target.double()
            if not bool((values.isfinite() & (values == values.floor())).all()):
                return  # no ids
            target = values.long()
        self.ids.add(target, place)
        if self._weight is not None:
            counted = target[(target >= 0) & (target < len(self._weight)) & (target != self.ignored)]
            if counted.numel() and not bool(self._weight[counted.long()].any()):
                self.weightless.add([place.whole("every label has weight 0")])

    def _add_probabilities(self, target: Tensor, dim: int, place: Place) -> None:
        if not target.numel():
            return
        odd = self.probabilities.add(target.movedim(dim, -1), place)
        if odd is not None and self.odd_probabilities is None:
            odd = odd.movedim(-1, dim)
            call = Call(torch.zeros(()).expand(odd.shape), odd, ignore_index=self.ignored)
            found = findings_of(call)
            self.odd_probabilities = next((finding for finding in found if finding.code.startswith("SCE20")), None)

    def _look_for_odd_inputs(self, name: str, tensor: Tensor, place: Place) -> None:
        if not probe.is_readable(tensor) or not tensor.ndim:
            return
        odd = ~tensor.isfinite()
        samples = (
            odd.flatten(1).any(1).nonzero().reshape(-1).tolist() if tensor.ndim > 1 else odd.nonzero()[:, 0].tolist()
        )
        if samples:  # finite numbers may add up to an infinity
            seen = self.not_finite.setdefault(name, Seen())
            seen.add(place.sample(at, _what(tensor[at])) for at in samples[:FIRST])


def _is_counted(target: Tensor) -> bool:
    """Whether `torch.bincount` takes a tensor."""
    return not target.is_floating_point() and target.dtype not in _UNCOUNTED


_UNCOUNTED = (torch.bool, torch.uint16, torch.uint32, torch.uint64)


def _length(target: Any) -> int:
    if isinstance(target, Tensor):
        return target.size(0) if target.ndim else 1
    return len(target) if hasattr(target, "__len__") else 1


def _what(part: Tensor) -> str:
    nan = int(part.isnan().sum())
    return (
        f"{nan} of {part.numel()} values are NaN"
        if nan
        else f"{int(part.isinf().sum())} of {part.numel()} values are infinite"
    )
