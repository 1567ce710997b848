"""What is seen of a loader, batch by batch: cheap statistics, and a closer look only where one of them is odd."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.linalg import vector_norm

from safe_ce.auditing.batches import count_of, first_tensor, is_single, shown_tensor
from safe_ce.auditing.counting import (
    FIRST,
    Ids,
    OneHot,
    Place,
    Probabilities,
    Seen,
    first_of,
    is_one_hot,
    odd_values,
    samples_with,
)
from safe_ce.auditing.forms import Form, Kind, are_whole, form_of, key_of, turned
from safe_ce.auditing.loading import ROWS
from safe_ce.auditing.sides import Rows, Sizes
from safe_ce.causes.cause import described, dtype_name, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safe_ce.auditing.batches import Read, Reader
    from safe_ce.findings import Sample

FORMS = 32
"""Forms of targets that are told apart."""


class Usual(NamedTuple):
    """What batches look like of which nothing but the values needs a look: tensors like those before.

    Attributes:
        batch: The type of the batches.
        entries: How many entries they have.
        pick: Gives the inputs and the targets of one.
        source: The shape of the inputs.
        source_dtype: Their dtype.
        target: The shape of the targets.
        dtype: Their dtype.
        rows: How many there are.
        form: Their form.
        sized: Whether targets of every pixel or step are as large as the inputs; None where there are none.
        floats: Whether the values of the inputs are looked at.
        look: Looks at the targets of a batch, given its number and what was asked for; True where those that wait are to
            be settled.
    """

    batch: type[Any]
    entries: int
    pick: Callable[[Any], tuple[Any, Any]]
    source: torch.Size
    source_dtype: torch.dtype
    target: torch.Size
    dtype: torch.dtype
    rows: int
    form: Form
    sized: bool | None
    floats: bool
    look: Callable[[Tensor, int, Any], bool]


class Tally:
    """What is seen of a loader.

    Attributes:
        classes: The number of classes, where it is known.
        said: The number that was said, or None.
        ignored: The `ignore_index`.
        dtype: That of the logits, as far as the inputs tell; None where they do not.
    """

    def __init__(self, read: Reader, classes: int | None, ignored: int, weight: Tensor | None) -> None:
        self.classes = self.said = classes
        self.ignored = ignored
        self.input = ""
        self.inputs: dict[str, Seen] = {}
        """The dtypes and numbers of dimensions of the inputs."""
        self.dtype: torch.dtype | None = None
        self.rows = Rows()
        self.sizes = Sizes()
        self.forms: dict[tuple[Any, ...], Form] = {}
        self.ids = Ids(classes, ignored)
        self.probabilities = Probabilities()
        self.not_finite = Seen()
        """Batches whose inputs are not all finite."""
        self.others_not_finite: dict[str, Seen] = {}
        """The same of what stands beside the inputs, by name."""
        self.weightless = Seen()
        """Batches in which every class that occurs has weight 0."""
        self._read = read
        self._weight = weight.cpu() if weight is not None and bool((weight == 0).any()) else None
        self._usual: Usual | None = None
        self._time_first = False
        """Whether a batch was seen whose samples are in the second dimension."""
        self._batches = 0
        """Batches that are in all counts."""
        self._alike = 0
        """Usual ones since then."""

    @property
    def batches(self) -> int:
        """How many were seen."""
        return self._batches + self._alike

    @property
    def pairs(self) -> bool:
        """Whether batches are pairs of an input and a target, as they are."""
        return self._read.pairs

    @property
    def ends_unusual(self) -> bool:
        """Whether the last batch has another size than the first."""
        return not self._alike and self.rows.last != self.rows.usual

    def know_classes(self, classes: int) -> None:
        """Take a number of classes that was not known when counting began, or a smaller one."""
        if self.classes is None or classes < self.classes:
            self.classes = classes
            self.ids.know_classes(classes)

    def add(self, batch: Any, asked: Any, read: Read | None = None) -> None:
        """Look at a batch.

        Args:
            batch: The batch.
            asked: The indices that the sampler asked for, where they are known.
            read: The batch, where it was read before.
        """
        usual = self._usual
        if usual is not None and read is None and type(batch) is usual.batch and len(batch) == usual.entries:
            try:
                source, target = usual.pick(batch)
            except KeyError:  # as many entries, of other names
                source = target = None
            if (
                type(target) is Tensor
                and type(source) is Tensor
                and target.shape == usual.target
                and source.shape == usual.source
                and target.dtype is usual.dtype
                and source.dtype is usual.source_dtype
                and (asked is None or (type(asked) in ROWS and len(asked) == usual.rows))
            ):
                if usual.floats and _may_be_odd(source):
                    self._look_for_odd_inputs(source, Place(self.batches, usual.rows, asked), self.not_finite)
                if usual.look(target, self._batches + self._alike, asked):
                    self.ids.settle()
                self._alike += 1
                return
        self._add_unusual(batch, self._read(batch) if read is None else read, asked)

    def settle(self) -> None:
        """Bring all counts up to date."""
        if self._usual is not None:
            self.rows.add_usual(self._alike)
            self.sizes.add_usual(self._alike, equal=self._usual.sized)
            self._usual.form.seen.batches += self._alike
        self._batches, self._alike = self.batches, 0
        self.ids.settle()

    def _add_unusual(self, batch: Any, read: Read, asked: Any) -> None:
        self.settle()
        form = self._form_of(read)
        source, target = read.source, read.target
        # That time comes first is likely then, and not sure: some samples may have been left out.
        time_first = form.kind is Kind.IDS and _has_time_first(source, target, asked)
        if time_first:
            source, target = source.transpose(0, 1), target.transpose(0, 1)
        single = is_single(target)
        asked = [asked] if isinstance(asked, int) and single else asked
        # Beside batches with time first, one of as many steps as samples may have it first as well.
        self._time_first = self._time_first or time_first
        time_first = time_first or (self._time_first and _is_square(source, target))
        place = Place(self.batches, count_of(target), asked, told_apart=not time_first)
        self._batches += 1
        self._add_inputs(read.source, place)
        form.seen.add(_named(form, target, read.target, place))
        usual = self.rows.add(None if single else source, target, place) and not time_first
        sized = self.sizes.add(source, target, place)
        main = _main(read)
        for name, tensor in read.floats:
            told_apart = tensor is main or (name == read.name and isinstance(source, Tensor))
            if _may_be_odd(tensor) and (told_apart or not _is_additive_mask(tensor)):
                first = told_apart or name == read.name
                seen = self.not_finite if first else self.others_not_finite.setdefault(name, Seen())
                self._look_for_odd_inputs(tensor, place, seen, whole=not told_apart)
        self._add_values(form, target, place)
        # Of a sound form no more than the first batch is ever named.
        named = form.seen.batches >= FIRST or (form.kind is Kind.IDS and form.finding is None)
        named = named and (sized is not False or self.sizes.unequal.batches >= FIRST)
        floating = isinstance(target, Tensor) and target.is_floating_point() and form.kind is Kind.IDS
        plain = type(source) is type(target) is Tensor and not source.is_nested
        beside = any(name != read.name for name, _ in read.floats)
        if usual and named and plain and not floating and not beside and read.keys is not None:
            counted = form.kind is Kind.IDS and _is_counted(target) and self._weight is None
            together = self.ids.together_with(target) if counted else None
            self._usual = Usual(
                batch=type(batch),
                entries=len(batch),
                pick=itemgetter(*read.keys),
                source=source.shape,
                source_dtype=source.dtype,
                target=target.shape,
                dtype=target.dtype,
                rows=place.rows,
                form=form,
                sized=sized,
                floats=bool(read.floats),
                look=self._looking(form) if together is None else together.add,
            )

    def _add_inputs(self, source: Any, place: Place) -> None:
        tensor = isinstance(source, Tensor)
        if not self.input:
            self.input = shown_tensor(source) if tensor else described(source)
        if tensor and not source.is_nested:
            kind = f"{dtype_name(source)} of {plural(source.ndim, 'dimension')}"
            if kind in self.inputs or len(self.inputs) < FORMS:
                self.inputs.setdefault(kind, Seen()).add_whole(place, shown_tensor(source))
            if source.is_floating_point() and self.dtype is not torch.float64:
                self.dtype = source.dtype

    def _looking(self, form: Form) -> Callable[[Tensor, int, Any], bool]:
        def look(target: Tensor, number: int, asked: Any) -> bool:
            self._add_values(form, target, Place(number, len(target), asked))
            return False

        return look

    def _add_values(self, form: Form, target: Any, place: Place) -> None:
        if form.kind is Kind.ONE_HOT:
            if is_one_hot(target, form.dim, several=False):
                form.one_hot.add(target, form.dim, place)
            elif turned(form, target, self.classes, self.ignored):
                self.ids.add_counts({0: form.one_hot.zeros, 1: form.one_hot.ones})
                form.one_hot = OneHot()
            else:
                form.one_hot.add(target, form.dim, place)
        if form.kind is Kind.IDS:
            self._add_ids(target, place)
        elif form.kind is Kind.PROBABILITIES and target.numel():
            self.probabilities.add(target.movedim(form.dim, -1), place)

    def _form_of(self, read: Read) -> Form:
        sums = self.probabilities.sums
        classes = self.classes if self.classes is not None or sums is None else len(sums)
        key = key_of(read.target, classes)
        form = self.forms.get(key)
        if form is None:
            form = form_of(read.target, _main(read), classes, self.ignored)
            if len(self.forms) >= FORMS:  # what is told apart of many is what they are taken for
                key = ((form.kind, form.dim, form.positions), form.finding and form.finding.cause, "others")
            form = self.forms.setdefault(key, form)
        return form

    def _add_ids(self, target: Tensor, place: Place) -> None:
        if not target.numel():
            return
        if not _is_counted(target):
            values = target.detach().double()
            # Those that are no ids have a form of their own, with its finding.
            whole = are_whole(values)
            if not bool(whole.any()):
                return
            target = values.where(whole, 0.0).long()
            self.ids.discount(int((~whole).count_nonzero()))
        self.ids.add(target, place)
        if self._weight is not None:
            ids = target.cpu().long()
            counted = ids[(ids >= 0) & (ids < len(self._weight)) & (ids != self.ignored)]
            if counted.numel() and not bool(self._weight[counted].any()):
                self.weightless.add_whole(place, "every label has weight 0")

    @staticmethod
    def _look_for_odd_inputs(tensor: Tensor, place: Place, seen: Seen, *, whole: bool = False) -> None:
        """Name the samples whose values are not finite, or the batch where a tensor's rows are not its samples."""
        odd = ~tensor.detach().isfinite()
        if not bool(odd.any()):
            return  # finite numbers may add up to an infinity
        if whole or not tensor.ndim or len(tensor) != place.rows:
            seen.add_whole(place, odd_values(tensor))
            return
        seen.add(place.sample(at, odd_values(tensor[at])) for at in first_of(samples_with(odd)))


def _named(form: Form, target: Any, given: Any, place: Place) -> Iterator[Sample]:
    """What a batch of a form is named by: the samples that are no class ids among some that are, or the whole.

    Args:
        form: The form.
        target: The target, with its samples in the first dimension.
        given: The same as it was given.
        place: The batch.
    """
    if form.kind is Kind.IDS and isinstance(target, Tensor) and target.is_floating_point() and target.ndim:
        odd = ~are_whole(target)
        samples = samples_with(odd)
        if bool(samples.any()) and not bool(samples.all()):
            for at in first_of(samples):
                yield place.sample(at, f"label {target[at][odd[at]].reshape(-1)[0].item():.4g}")
            return
    yield place.whole(shown_tensor(given) if isinstance(given, Tensor) else described(given))


def _main(read: Read) -> Any:
    """What a model reads first; of several parts of all samples the first, and not of one part for each."""
    source, tensor = read.source, first_tensor(read.source)
    single = isinstance(source, (list, tuple)) and len(source) == count_of(read.target)
    return source if single or tensor is None or tensor.is_nested or tensor.ndim < 2 else tensor


def _has_time_first(source: Any, target: Any, asked: Any) -> bool:
    """Whether inputs and class ids have as many samples in their second dimension as the sampler asked for."""
    first, second = _shared(source, target)
    return type(asked) in ROWS and first != len(asked) == second


def _is_square(source: Any, target: Any) -> bool:
    """Whether inputs and targets have as many steps as samples, in whichever order."""
    first, second = _shared(source, target)
    return first is not None and first == second


def _shared(source: Any, target: Any) -> tuple[int | None, int | None]:
    """The first two sizes that inputs and targets have in common; None where they have not."""
    for side in (source, target):
        if not isinstance(side, Tensor) or side.is_nested or side.ndim < 2:
            return None, None
    return (source.size(0), source.size(1)) if source.shape[:2] == target.shape[:2] else (None, None)


def _is_counted(target: Tensor) -> bool:
    """Whether `torch.bincount` takes a tensor."""
    return not target.is_floating_point() and target.dtype not in _UNCOUNTED


_UNCOUNTED = (torch.bool, torch.uint16, torch.uint32, torch.uint64)


def _may_be_odd(tensor: Tensor) -> bool:
    """Whether a floating-point tensor may hold a value that is not finite; its squares may also add up to an infinity."""
    # A norm is taken in one thread: to wake the others takes longer than most batches.
    return not math.isfinite(vector_norm(tensor, dtype=_WIDER.get(tensor.dtype)).item())


_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def _is_additive_mask(tensor: Tensor) -> bool:
    """Whether there is nothing but zeros, and -inf for what attention leaves out."""
    return bool(((tensor == 0) | (tensor == -math.inf)).all())
