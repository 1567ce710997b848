"""From what was seen to findings and notes: the catalogue's causes, asked when all is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from safe_ce.auditing.counting import FIRST, VOID, WINDOW, Seen
from safe_ce.auditing.forms import LABELS, Form, Kind
from safe_ce.call import Call, Labels, Sent
from safe_ce.causes import BY_NAME
from safe_ce.causes.cause import CERTAIN, LIKELY, Match, listed, plural
from safe_ce.contract import broken_clause
from safe_ce.diagnosis import findings_of, tellable
from safe_ce.findings import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.auditing.tally import Tally
    from safe_ce.auditing.trial import Trial
    from safe_ce.findings import Finding

WEIGHTS = ("weight-length-mismatch", "weight-wrong-dtype", "weight-invalid", "weight-requires-grad")


def findings(tally: Tally, weight: Tensor | None, *, complete: bool) -> Iterator[Finding]:
    """What is wrong with a loader.

    Args:
        tally: What was seen.
        weight: The class weights, or None.
        complete: Whether the loader was seen to its end.
    """
    yield from _rows(tally)
    yield from _forms(tally)
    yield from _labels(tally)
    yield from _probabilities(tally, complete=complete)
    yield from _weights(tally, weight)
    yield from _inputs(tally)


def located(finding: Finding, seen: Seen, batches: int) -> Finding:
    """A finding with where it was seen, and without the tensor that stood in for the logits."""
    return replace(
        finding,
        evidence=(*finding.evidence, f"in {_of_batches(seen.batches, batches)}"),
        operands=tuple(operand for operand in finding.operands if operand.name != "input"),
        samples=tuple(seen.samples[:FIRST]),
        batches=seen.batches,
    )


def _of_batches(count: int, batches: int) -> str:
    if batches == 1:
        return "the only batch"
    return f"all of {batches:,} batches" if count == batches else f"{count:,} of {batches:,} batches"


def _rows(tally: Tally) -> Iterator[Finding]:
    rows = tally.rows
    if not rows.ragged:
        return
    usual = f"as many of both in {_of_batches(rows.equal, tally.batches)}" if rows.equal else "one side has more"
    match = Match(
        CERTAIN if rows.equal else LIKELY,
        "inputs and targets of a batch differ in number: the batch is ragged",
        (usual,),
        "look in collate_fn and in the data set for samples that are left out of one side only: leave out both, or none",
    )
    call = Call(None, None)
    found = replace(BY_NAME["ragged-batch"].finding(call, match), operands=())
    yield located(found, rows.unequal, tally.batches)


def _forms(tally: Tally) -> Iterator[Finding]:
    """What the loss does not take as it is, by the form of the target, and each cause once."""
    told: dict[str, tuple[Finding, Seen]] = {}
    for key, form in tally.forms.items():
        if form.finding is None or _is_one_step_of_many(key, tally.forms):
            continue
        finding, seen = told.setdefault(form.finding.cause, (form.finding, Seen()))
        seen.batches += form.seen.batches
        seen.samples = sorted(seen.samples + form.seen.samples, key=lambda sample: sample.batch)[:FIRST]
    others = {form.shown: form.seen for form in tally.forms.values() if form.finding is None}
    for finding, seen in told.values():
        usual = tuple(
            f"other batches hold {shown}, batch {seen.samples[0].batch} is the first" for shown, seen in others.items()
        )
        yield located(replace(finding, evidence=(*finding.evidence, *usual[:2])), seen, tally.batches)


def _is_one_step_of_many(key: tuple[object, ...], forms: dict[tuple[object, ...], Form]) -> bool:
    """Whether targets of a form are (N, 1) only because sequences of other lengths happened to have length 1."""
    one_step = len(key) == 4 and key[2] is True
    longer = forms.get((*key[:2], False, *key[3:])) if one_step else None
    return longer is not None and longer.kind is Kind.IDS and longer.finding is None


def _labels(tally: Tally) -> Iterator[Finding]:
    """What the class ids of the whole loader show."""
    ids = tally.ids
    counts = ids.counts()
    if ids.all_ignored:
        target = torch.full((2,), tally.ignored)
        (found,) = findings_of(Call(torch.zeros(2, 2), target, ignore_index=tally.ignored))[:1]
        found = replace(
            found,
            summary=f"every target of a batch is ignored ({tally.ignored}): the mean over none of them is NaN",
            evidence=(),
            operands=(),
        )
        yield located(found, ids.all_ignored, tally.batches)
    kept = [value for value in counts if value != tally.ignored]
    classes = tally.classes or assumed_classes(tally)
    wrong = {value: count for value, count in counts.items() if value != tally.ignored and not 0 <= value < classes}
    if not wrong or not kept:
        return
    total = sum(counts.values())
    labels = Labels.summarised(
        torch.tensor(list(counts)),
        tally.ignored,
        classes,
        (min(counts), max(counts), min(kept), max(kept), total - counts.get(tally.ignored, 0), sum(wrong.values())),
        total,
    )
    shape = next(form.shape for form in tally.forms.values() if form.kind is Kind.IDS) or (1,)
    call = Call(
        torch.zeros(()).expand(shape[0], classes, *shape[1:]),
        torch.zeros((), dtype=torch.int64).expand(shape),
        ignore_index=tally.ignored,
        rejected=True,
        sent=Sent(labels, None, None, None),
    )
    found = next(found for found in tellable(findings_of(call)) if found.cause in (*LABELS, "mask-not-class-ids"))
    seen = Seen()
    for value in wrong:
        if value in ids.bad:
            seen.batches += ids.bad[value].batches
            seen.samples += ids.bad[value].samples
    seen.batches = min(seen.batches, tally.batches)
    seen.samples = _first_of_each(seen.samples)
    yield located(found, seen, tally.batches)


def _first_of_each(samples: list[Sample]) -> list[Sample]:
    """The first samples, those that show something new before the others."""
    new: dict[str, Sample] = {}
    for sample in samples:
        new.setdefault(sample.seen, sample)
    ordered = [*new.values(), *(sample for sample in samples if new[sample.seen] is not sample)]
    return sorted(ordered[:FIRST], key=lambda sample: (sample.batch, sample.position or 0))


def assumed_classes(tally: Tally) -> int:
    """The number of classes that the labels speak for, where it was not said."""
    counts = tally.ids.counts()
    valid = [value for value in counts if 0 <= value < WINDOW and value != tally.ignored]
    # Beside classes that end well below it, this is what masks use for void.
    void = valid and VOID in tally.ids.bad and valid[-1] == VOID and (len(valid) < 2 or valid[-2] < VOID - 1)
    if void:
        valid = valid[:-1]
    own = 0 if tally.probabilities.sums is None else len(tally.probabilities.sums)
    return max(valid[-1] + 1 if valid else 0, own, 2)


def _probabilities(tally: Tally, *, complete: bool) -> Iterator[Finding]:
    soft = tally.probabilities
    if tally.odd_probabilities is not None:
        form = next(form for form in tally.forms.values() if form.kind is Kind.PROBABILITIES)
        found = replace(
            tally.odd_probabilities,
            evidence=(f"{soft.odd_rows:,} of {plural(soft.rows, 'row')} are no probabilities",),
            operands=(form.operand,),
        )
        if soft.odd_rows < soft.rows:
            found = replace(found, help="look at how these rows are made; the others are sound", fix=None)
        yield located(found, soft.odd, tally.batches)
        return
    # Single batches of a mixup pipeline are one-hot as well; of such, others hold fractions or are no batch of ids.
    beside_ids = any(form.kind is Kind.IDS for form in tally.forms.values())
    enough = complete or beside_ids or soft.batches >= BY_NAME["one-hot-target"].patience
    if not soft.batches or soft.one_hot != soft.batches or not enough:
        return
    form = next(form for form in tally.forms.values() if form.kind is Kind.PROBABILITIES)
    shape = (2, 2)
    (found,) = findings_of(Call(torch.zeros(shape), torch.eye(2)))[:1]
    found = replace(
        found,
        evidence=(f"all of {plural(soft.rows, 'row')} are zeros and a single one",)
        + (("other batches hold class ids",) if beside_ids else ()),
        fix=f"target = target.argmax({form.dim})",
        operands=(form.operand,),
    )
    yield located(found, form.seen, tally.batches)


def _weights(tally: Tally, weight: Tensor | None) -> Iterator[Finding]:
    if weight is None:
        return
    classes = tally.classes or assumed_classes(tally)
    dtype = weight.dtype if weight.dtype in (torch.float16, torch.bfloat16) else tally.dtype
    logits = torch.zeros((), dtype=dtype).expand(classes, classes)
    call = Call(logits, torch.arange(classes), weight)
    call = replace(call, rejected=broken_clause(call) is not None)
    found = next((found for found in findings_of(call) if found.cause in WEIGHTS), None)
    if found is not None:
        yield replace(found, operands=tuple(operand for operand in found.operands if operand.name == "weight"))
    if tally.weightless:
        cause = BY_NAME["weight-invalid"]
        match = Match(
            CERTAIN,
            "every class that occurs in a batch has weight 0: the mean is 0 / 0",
            (),
            "give the classes that occur a weight, or skip such batches",
        )
        yield located(replace(cause.finding(Call(None, None), match), operands=()), tally.weightless, tally.batches)


def _inputs(tally: Tally) -> Iterator[Finding]:
    for name, seen in tally.not_finite.items():
        match = Match(
            LIKELY,
            f"{'the inputs hold' if name == 'input' else f'{name} holds'} NaN or infinity, and so will the logits of"
            " these samples and the loss of their batches",
            (),
            "mend or leave out these samples where they are read: divisions by zero, logarithms of it, missing values",
        )
        found = BY_NAME["logits-not-finite"].finding(Call(None, None), match)
        yield located(replace(found, operands=()), seen, tally.batches)


def notes(tally: Tally, *, complete: bool, in_order: bool) -> Iterator[str]:
    """What is no mistake, and good to know."""
    rows = tally.rows
    if rows.dropped and not rows.ragged:
        yield (
            f"{_of_batches(rows.dropped.batches, tally.batches)} have fewer samples than were asked for:"
            f" {rows.dropped.samples[0]}; collate_fn or the data set leaves some out"
        )
    elif not rows.ragged:
        yield from _sizes(tally, complete=complete)
    if complete and rows.last == 1 and rows.largest > 1:
        yield (
            f"the last batch, {tally.batches - 1}, has 1 sample: squeeze() takes its batch dimension away"
            " (SCE111), and BatchNorm refuses it in training; drop_last=True leaves it out"
        )
    if rows.unequal and not rows.ragged:
        yield f"inputs and targets differ in their first dimension, by their layout it seems: {rows.unequal.samples[0]}"
    kinds: dict[object, Form] = {}
    for key, form in tally.forms.items():
        if form.finding is None:
            kinds.setdefault((form.kind, *key[:2]), form)
    if len(kinds) > 1:
        shown = (f"{form.shown} from batch {form.seen.samples[0].batch}" for form in kinds.values())
        yield f"the targets change: {listed(tuple(shown))}"
    yield from _unjudged(tally)
    if not in_order and any(sample.index is not None for sample in _all_samples(tally)):
        yield "indices in the data set suppose that collate_fn keeps the order of the samples"


def _sizes(tally: Tally, *, complete: bool) -> Iterator[str]:
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
    counts = tally.ids.counts()
    valid = [value for value in counts if value >= 0 and value != tally.ignored]
    if len(valid) > 1 and valid[0] == 1 and valid[-1] == len(valid) and tally.ignored != 0:
        yield (
            f"labels run from 1 to {valid[-1]} and 0 never occurs: with {valid[-1]} classes they must start at 0"
            " (SCE209); num_classes= has this judged"
        )


def _all_samples(tally: Tally) -> Iterator[Sample]:
    for seen in tally.ids.bad.values():
        yield from seen.samples
    yield from tally.probabilities.odd.samples
    for seen in tally.not_finite.values():
        yield from seen.samples


def class_counts(tally: Tally) -> list[float]:
    """How often each class occurs, by id."""
    sums = [part for part in (tally.probabilities.sums, tally.one_hot.sums) if part is not None]
    if any(form.kind is Kind.IDS for form in tally.forms.values()):
        ids = tally.ids.of_classes(tally.classes or assumed_classes(tally))
        if 0 <= tally.ignored < len(ids):
            ids[tally.ignored] = 0
        sums.append(ids)
    total = torch.zeros(max(map(len, sums), default=0), dtype=torch.float64)
    for part in sums:
        total[: len(part)] += part
    return [int(count) if count.is_integer() else count for count in total.tolist()]


def of_trial(trial: Trial, known: set[str]) -> Iterator[Finding]:
    """What the batches showed that went through the model, but for causes that are known."""
    for cause, (finding, number) in trial.findings.items():
        if cause not in known:
            yield replace(finding, samples=(Sample(number, seen="through the model"),), batches=1)


def notes_of_trial(trial: Trial, classes: int | None) -> Iterator[str]:
    """What is no mistake of the loader's, and good to know of the model."""
    if trial.note:
        yield trial.note
    if trial.classes is not None and trial.classes != classes:
        yield f"the model has {trial.classes} outputs, and num_classes is {classes}"
