"""From what was seen to notes: what is no mistake, and good to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safe_ce.auditing.judging import classes_of, is_mended, of_batches
from safe_ce.causes.cause import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safe_ce.auditing.forms import Form
    from safe_ce.auditing.tally import Tally
    from safe_ce.auditing.trial import Trial
    from safe_ce.findings import Finding


def notes(
    tally: Tally, trial: Trial | None, found: Sequence[Finding], *, complete: bool, in_order: bool
) -> Iterator[str]:
    """What is no mistake, and good to know.

    Args:
        tally: What was seen.
        trial: What a model showed, or None.
        found: The findings.
        complete: Whether the loader was seen to its end.
        in_order: Whether a batch is sure to hold its samples in the order in which they were asked for.
    """
    rows = tally.rows
    ragged = rows.ragged(pairs=tally.pairs)
    if not ragged and rows.dropped:
        yield (
            f"{of_batches(rows.dropped.batches, tally.batches)} have fewer samples than were asked for:"
            f" {rows.dropped.samples[0]}; collate_fn or the data set leaves some out"
        )
    elif not ragged and not rows.unequal:
        yield from _batch_sizes(tally, complete=complete)
    if complete and rows.last == 1 and rows.largest > 1:
        yield (
            f"the last batch, {tally.batches - 1}, has 1 sample: squeeze() takes its batch dimension away (SCE111), and"
            " BatchNorm refuses it in training; drop_last=True leaves it out"
        )
    if not ragged and rows.unequal:
        yield f"inputs and targets differ in their first dimension, by their layout it seems: {rows.unequal.samples[0]}"
    odd = tally.sizes.odd(classes_of(tally))
    if not odd and tally.sizes.unequal and tally.sizes.equal:
        yield f"inputs and targets differ in size in some batches: {tally.sizes.unequal.samples[0]}"
    yield from _changes(tally)
    for name, seen in tally.others_not_finite.items():
        yield f"{name} holds NaN or infinity in {of_batches(seen.batches, tally.batches)}: {seen.samples[0]}"
    mended = tally.not_finite.samples[:1] if is_mended(tally, trial) else []
    for sample in mended:
        yield f"the inputs hold NaN or infinity, which the model bears: {sample}"
    yield from _unjudged(tally)
    if trial is not None:
        yield from trial.notes
        if None not in (trial.classes, tally.said) and trial.classes != tally.said:
            yield f"the model has {trial.classes} outputs, and num_classes is {tally.said}"
    named = [*(sample for finding in found for sample in finding.samples), *mended]
    if not in_order and any(sample.index is not None for sample in named):
        yield "indices in the data set suppose that collate_fn keeps the samples in order, and in the first dimension"


def _changes(tally: Tally) -> Iterator[str]:
    """What is another at times, of what the loss takes."""
    kinds: dict[object, Form] = {}
    for key, form in tally.forms.items():
        if form.finding is None and key[1:2] != (0,):
            kinds.setdefault((form.kind, *key[:2]), form)
    if len(kinds) > 1:
        shown = (f"{form.shown} from batch {form.seen.samples[0].batch}" for form in kinds.values())
        yield f"the targets change: {listed(tuple(shown))}"
    if len(tally.inputs) > 1:
        inputs = (f"{seen.samples[0].seen} from batch {seen.samples[0].batch}" for seen in tally.inputs.values())
        yield f"the inputs change: {listed(tuple(inputs))}"


def _batch_sizes(tally: Tally, *, complete: bool) -> Iterator[str]:
    rows = tally.rows
    middle = rows.unusual.batches - (complete and rows.last != rows.usual)
    if middle > 0:
        yield (
            f"the batches have {rows.smallest:,} to {rows.largest:,} samples, not only at the end:"
            f" {rows.unusual.samples[0]}, where the first has {rows.usual}"
        )


def _unjudged(tally: Tally) -> Iterator[str]:
    """What would be a mistake with one number of classes, and not with another."""
    if tally.classes is not None:
        return
    if tally.ids.uncounted:
        yield f"there are labels up to {tally.ids.uncounted:,}: num_classes= has the classes counted"
    valid = [value for value in tally.ids.counts() if value >= 0]
    if len(valid) > 1 and valid[0] == 1 and valid[-1] == len(valid) and tally.ignored != 0:
        yield (
            f"labels run from 1 to {valid[-1]} and 0 never occurs: with {valid[-1]} classes they must start at 0"
            " (SCE209); num_classes= has this judged"
        )
