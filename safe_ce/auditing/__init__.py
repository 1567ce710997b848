"""The audit: a look through a data loader before training."""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset, IterableDataset

from safe_ce.auditing import judging
from safe_ce.auditing.batches import BadLoaderError, Reader
from safe_ce.auditing.loading import Watched, length_of, random_state_kept, shown_indices
from safe_ce.auditing.noting import notes
from safe_ce.auditing.result import Audit
from safe_ce.auditing.tally import Tally
from safe_ce.auditing.trial import BATCHES, Trial
from safe_ce.loss import SafeCrossEntropyLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor

    from safe_ce.auditing.batches import Target
    from safe_ce.auditing.trial import Model

__all__ = ["Audit", "audit"]


def audit(
    loader: Iterable[Any],
    num_classes: int | None = None,
    *,
    ignore_index: int = -100,
    weight: Tensor | None = None,
    model: Model | None = None,
    target: Target | None = None,
    batches: int | None = None,
) -> Audit:
    """Go once through a loader, before training, and say what the loss will stumble over, and in which samples.

    What is looked at: the rows of inputs and targets, the shape, dtype and kind of the targets, labels against the
    number of classes, soft targets that are no probabilities, batches that are ignored whole, and inputs that are not
    finite. The target is judged as the loader gives it: where the training loop still mends it, do so in `target`.

    The loader and its workers are left as they are, and so is the random state of torch, Python and NumPy and of the
    generators of the loader and its samplers; what a data set, a sampler or a loader of another library keeps for itself, a
    count of epochs say, moves on. Ctrl-C ends it early, with what was found so far. On a terminal tqdm shows the progress,
    where it is installed.

    Args:
        loader: Any iterable of batches: a `DataLoader`, a list, a generator. A batch is a tuple or list, a mapping, as
            Hugging Face gives them, or a dataclass.
        num_classes: How many classes there are: labels are class ids below it. Else it is that of the model's output, or
            of `weight`; where there is neither, labels that are too large cannot be told.
        ignore_index: As the loss's.
        weight: As the loss's, a float tensor of shape ``(num_classes,)``.
        model: The first batches, and a last one of another size, also go through it, without gradient and in evaluation
            mode, and the loss's own guard judges what comes out. It is called with the inputs as the batch has them, by
            keyword where they have names, and returns the logits. It is as before afterwards, but for what it notes by
            itself when it is called.
        target: The target's index, key or name in a batch, or a callable that gives it for a batch. Without, it is the
            second of two, or goes by a usual name.
        batches: Look at so many at most.

    Returns:
        An `Audit`. Its text is the report; `.ok` says that nothing is wrong.

    Raises:
        ValueError: There is no batch, or it is no batch: None, or a list of samples; or it is not clear which entry is the
            target, and the text lists them; or what was given has no batches of its own: a data set, a mapping, several
            loaders; or `num_classes` is less than 2, or `batches` less than 1.
        TypeError: `num_classes` or `batches` is no whole number.
        SafeCrossEntropyError: The loss takes no such `weight` or `ignore_index`.

    What the loader or the model raises comes out as it is, with the number of the batch, and what was found before it, as
    a note.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from safe_ce import audit
        >>> labels = torch.arange(60) % 10
        >>> labels[42] = -1
        >>> found = audit(DataLoader(TensorDataset(torch.randn(60, 5), labels), batch_size=32), num_classes=10)
        >>> found.ok
        False
        >>> found.findings[0].cause
        'ignore-index-mismatch'
        >>> print(found.findings[0].samples[0])
        batch 1, position 10, dataset[42]: label -1
    """
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        raise BadLoaderError("a data set has samples and no batches: audit a DataLoader of it")
    if isinstance(loader, Mapping):
        raise BadLoaderError("a mapping has keys and no batches: audit one of its values")
    num_classes, batches = (None if given is None else operator.index(given) for given in (num_classes, batches))
    if num_classes is not None and num_classes < 2:
        raise BadLoaderError(f"num_classes must be 2 or more, not {num_classes}")
    if batches is not None and batches < 1:
        raise BadLoaderError(f"batches must be 1 or more, not {batches}")
    SafeCrossEntropyLoss(weight, ignore_index=ignore_index, ignore=("weight-invalid",))  # raises what the loss would
    return _Auditor(loader, Reader(target), num_classes, operator.index(ignore_index), weight, model).run(batches)


class _Auditor:
    """One audit under way."""

    def __init__(
        self,
        loader: Iterable[Any],
        read: Reader,
        classes: int | None,
        ignored: int,
        weight: Tensor | None,
        model: Model | None,
    ) -> None:
        self._loader = loader
        self._read = read
        self._weight = weight
        self._weighted = len(weight) if weight is not None and weight.ndim == 1 and len(weight) > 1 else None
        self._watched = Watched(loader)
        self._trial = None if model is None else Trial(model, ignored, weight)
        self._tally = Tally(read, self._weighted if model is None and classes is None else classes, ignored, weight)
        self._complete = self._interrupted = False

    def run(self, most: int | None) -> Audit:
        """Go through the loader, or through so many batches of it."""
        try:
            with random_state_kept(self._loader), _progress(self._loader, most) as shown:
                self._go(most, shown)
        except KeyboardInterrupt:
            self._interrupted = True
        if not self._tally.batches and not self._interrupted:
            raise BadLoaderError(
                "the loader gave no batch: a generator that is used up, or drop_last with less than a batch of samples"
            )
        return self._result()

    def _go(self, most: int | None, shown: Callable[[], object] | None) -> None:
        tally, trial, ahead = self._tally, self._trial, self._watched.ahead
        last = asked = read = None
        number = 0
        try:
            for batch in self._watched:
                asked = ahead.popleft() if ahead else None
                if trial is None:
                    tally.add(batch, asked)
                elif number < BATCHES:
                    self._try_and_add(trial, batch, asked)
                else:
                    # A callable may take the target out of the batch, or make another one the second time.
                    read = self._read(batch) if callable(self._read.target) else None
                    tally.add(batch, asked, read)
                    last = (batch, asked, read) if tally.ends_unusual else None
                number += 1
                # Before the next one is made: a loader that has its memory back is faster.
                del batch
                asked = read = None
                if shown is not None:
                    shown()
                if tally.batches == most:
                    break
            else:
                self._complete = True
        except Exception as error:
            self._note(error, number, asked if asked is not None or not ahead else ahead[0])
            raise
        tally.settle()
        if trial is not None and self._complete and last is not None:
            batch, asked, read = last
            try:
                trial.run(number - 1, batch, self._read(batch) if read is None else read)
            except Exception as error:
                self._note(error, number - 1, asked)
                raise

    def _try_and_add(self, trial: Trial, batch: Any, asked: Any) -> None:
        read = self._read(batch)
        try:
            trial.run(self._tally.batches, batch, read)
        finally:  # the batch may show why the model has raised
            classes = trial.classes if trial.classes is not None else self._weighted
            if classes is not None:
                self._tally.know_classes(classes)
            self._tally.add(batch, asked, read)

    def _note(self, error: Exception, number: int, asked: Any) -> None:
        """Have an error say in which batch it arose, and what was seen before."""
        which = shown_indices(asked)
        error.add_note(f"safe_ce.audit: in batch {number}, counted from 0" + (f", of {which}" if which else ""))
        if self._tally.batches:
            error.add_note(f"what was seen: {self._result()}")

    def _result(self) -> Audit:
        self._tally.settle()
        tally, rows = self._tally, self._tally.rows
        found = tuple(judging.findings(tally, self._trial, self._weight, complete=self._complete))
        return Audit(
            findings=found,
            notes=tuple(notes(tally, self._trial, found, complete=self._complete, in_order=self._watched.in_order)),
            batches=tally.batches,
            samples=rows.total,
            complete=self._complete,
            interrupted=self._interrupted,
            batch_size=rows.usual,
            last_batch=rows.last,
            input=tally.input,
            targets=judging.shown_targets(tally),
            num_classes=tally.classes,
            ignore_index=tally.ignored,
            counts=tuple(judging.class_counts(tally)),
            labels=judging.labels(tally),
            ignored=tally.ids.ignored_in_all,
        )


@contextmanager
def _progress(loader: Iterable[Any], most: int | None) -> Iterator[Callable[[], object] | None]:
    """Show the progress on a terminal, by tqdm where it is installed. Gives what counts a batch, or None."""
    bar = None
    if sys.stderr is not None and sys.stderr.isatty():
        try:
            tqdm = import_module("tqdm").tqdm
        except ModuleNotFoundError:
            pass
        else:
            known = [count for count in (length_of(loader), most) if count is not None]
            bar = tqdm(total=min(known, default=None), desc="safe_ce.audit", unit=" batches", leave=False)
    try:
        yield None if bar is None else bar.update
    finally:
        if bar is not None:
            bar.close()
