"""From what was seen to findings: the catalogue's causes, asked when all is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from safe_ce.auditing.counting import FIRST, HUGE, VOID, WINDOW, Seen
from safe_ce.auditing.forms import LABELS, Form, Kind, as_finding, without_batch
from safe_ce.call import Call, Labels, Sent
from safe_ce.causes import BY_NAME
from safe_ce.causes.cause import CERTAIN, LIKELY, Match, dtype_name, listed, plural
from safe_ce.contract import broken_clause
from safe_ce.diagnosis import findings_of, tellable
from safe_ce.findings import Sample, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.auditing.tally import Tally
    from safe_ce.auditing.trial import Trial
    from safe_ce.findings import Finding

WEIGHTS = ("weight-length-mismatch", "weight-wrong-dtype", "weight-invalid", "weight-requires-grad")


def findings(tally: Tally, trial: Trial | None, weight: Tensor | None, *, complete: bool) -> list[Finding]:
    """What is wrong with a loader, the errors first.

    Args:
        tally: What was seen.
        trial: What a model showed, or None.
        weight: The class weights, or None.
        complete: Whether the loader was seen to its end.
    """
    found = [
        *_rows(tally),
        *_sizes(tally),
        *_forms(tally),
        *_labels(tally),
        *_probabilities(tally, complete=complete),
        *_weights(tally, trial, weight),
        *_inputs(tally, trial),
    ]
    if trial is not None:
        found += _of_the_model(trial, tally, found)
    # Gray values, say, are seen of the dtype of a mask and of its labels: the labels name the samples.
    each = {(finding.cause, finding.summary): finding for finding in found}
    return sorted(each.values(), key=lambda finding: finding.severity)


def _of_the_model(trial: Trial, tally: Tally, found: list[Finding]) -> Iterator[Finding]:
    """What only a model showed."""
    known = {finding.cause for finding in found}
    # What is wrong with the target is told of all batches, and shapes that do not fit for that reason need no word.
    of_target = any(finding.code.startswith("SCE2") for finding in found)
    reshaped = any(form.finding is not None and form.finding.cause in _OF_SHAPE for form in tally.forms.values())
    for cause, (finding, batches) in trial.findings.items():
        # Of what native takes, a single batch says less than all of them.
        follows = finding.code.startswith("SCE2") and (of_target or reshaped or finding.severity is not Severity.ERROR)
        if cause not in known and not follows and not (reshaped and finding.code.startswith("SCE3")):
            samples = tuple(Sample(number, seen="through the model") for number in batches[:FIRST])
            yield replace(finding, samples=samples, batches=len(batches))


_OF_SHAPE = (
    *("one-hot-target", "multi-hot-target", "target-extra-dim", "target-missing-batch-dim", "color-mask-target"),
    *("arguments-swapped", "contract-broken"),
)
"""Causes of a target that has another shape than the logits ask for."""


def located(finding: Finding, seen: Seen, batches: int) -> Finding:
    """A finding with where it was seen, and without the tensor that stood in for the logits."""
    return replace(
        finding,
        evidence=(*finding.evidence, *((f"in {of_batches(seen.batches, batches)}",) if seen else ())),
        operands=tuple(operand for operand in finding.operands if operand.name != "input"),
        samples=tuple(seen.samples[:FIRST]),
        batches=seen.batches,
    )


def of_batches(count: int, batches: int) -> str:
    """``"all of 7 batches"``, ``"2 of 7 batches"``."""
    if batches == 1:
        return "the only batch"
    return f"all of {batches:,} batches" if count == batches else f"{count:,} of {batches:,} batches"


def _rows(tally: Tally) -> Iterator[Finding]:
    rows = tally.rows
    if not rows.ragged(pairs=tally.pairs):
        return
    usual = f"as many of both in {of_batches(rows.equal, tally.batches)}" if rows.equal else "one side has more"
    match = Match(
        CERTAIN if rows.equal else LIKELY,
        "inputs and targets of a batch differ in number: the batch is ragged",
        (usual,),
        "look in collate_fn and in the data set for samples that are left out of one side only: leave out both, or none",
    )
    yield located(as_finding("ragged-batch", match), rows.unequal, tally.batches)


def _sizes(tally: Tally) -> Iterator[Finding]:
    sizes = tally.sizes
    if not sizes.odd(classes_of(tally)):
        return
    pixels = " x " in sizes.unequal.samples[0].seen
    match = Match(
        LIKELY,
        f"inputs and targets of a batch differ in {'height and width' if pixels else 'length'}",
        (f"they are alike in {of_batches(sizes.equal, tally.batches)}",),
        f"{'turn, crop and resize' if pixels else 'cut and pad'} both sides alike where the samples are made",
    )
    cause = "spatial-size-mismatch" if pixels else "sequence-length-mismatch"
    yield located(as_finding(cause, match), sizes.unequal, tally.batches)


def _forms(tally: Tally) -> Iterator[Finding]:
    """What the loss does not take as it is, by the form of the target, and each cause once."""
    told: dict[str, tuple[Finding, Seen]] = {}
    # Of several with the same cause, what is told is told of the one with values that are no ids.
    for key, form in sorted(tally.forms.items(), key=lambda pair: _is_whole(pair[0])):
        found = _with_empty_rows(form) if form.one_hot.empty else form.finding
        if key[1:2] == (0,) and found is None and len(tally.forms) > 1 and form.kind is Kind.IDS:
            target = torch.zeros((), dtype=torch.int64, device="cpu")
            found = without_batch(target, classes_of(tally), tally.ignored)
        if found is None or _is_one_step_of_many(key, tally.forms):
            continue
        finding, seen = told.setdefault(found.cause, (found, Seen()))
        seen.batches += form.seen.batches
        seen.samples = (seen.samples + form.seen.samples)[:FIRST]
    others = {form.shown: form.seen for form in tally.forms.values() if form.finding is None}
    for finding, seen in told.values():
        usual = tuple(
            f"other batches hold {shown}, batch {seen.samples[0].batch} is the first"
            for shown, seen in others.items()
            if seen.samples[0].batch not in [sample.batch for sample in told[finding.cause][1].samples]
        )
        yield located(replace(finding, evidence=(*finding.evidence, *usual[:2])), seen, tally.batches)


def _with_empty_rows(form: Form) -> Finding | None:
    """What is wrong with one-hot integers, some rows of which hold no class at all."""
    finding, one_hot = form.finding, form.one_hot
    if finding is None or finding.cause != "one-hot-target":
        return finding
    return replace(
        finding,
        evidence=(
            f"{one_hot.ones:,} of {one_hot.rows:,} rows are zeros and a single one",
            f"{plural(one_hot.empty_rows, 'row')} without any class, the first: {one_hot.empty.samples[0]}",
        ),
        help="pass the class ids themselves, and ignore_index for rows without a class, of which argmax makes class 0",
        fix=None,
    )


def _is_whole(key: tuple[object, ...]) -> bool:
    """Whether the values of a form are whole numbers, by its key."""
    return len(key) < 4 or key[-2] is True


def _is_one_step_of_many(key: tuple[object, ...], forms: dict[tuple[object, ...], Form]) -> bool:
    """Whether targets of a form are (N, 1) only because sequences of other lengths happened to have length 1."""
    one_step = len(key) == 5 and key[2] is True
    longer = forms.get((*key[:2], False, *key[3:])) if one_step else None
    return longer is not None and longer.kind is Kind.IDS and longer.finding is None


def _labels(tally: Tally) -> Iterator[Finding]:
    """What the class ids of the whole loader show."""
    ids = tally.ids
    if ids.all_ignored:
        match = Match(
            CERTAIN,
            f"every target of a batch is ignored ({tally.ignored}): the mean over none of them is NaN",
            (),
            "skip such batches, or divide a sum by the number of targets that count, and by 1 at least",
        )
        yield located(as_finding("all-targets-ignored", match), ids.all_ignored, tally.batches)
    counts = ids.counts()
    classes = classes_of(tally)
    wrong = [value for value in counts if not 0 <= value < classes]
    if not wrong:
        return
    # Those that were met before the number of classes was known are counted one by one.
    many = sum(counts[value] - ids.wrong.get(value, 0) for value in wrong) + ids.wrong_in_all
    valid = [value for value in counts if 0 <= value < classes]
    # Of many different ones, those that decide: all bad ones, and the first and last of the others.
    beyond = [ids.uncounted] if ids.uncounted else []
    shown = [*wrong[:15], *wrong[-15:], *valid[:15], *valid[-15:], *beyond]
    ignored = [tally.ignored] * bool(ids.ignored_in_all)
    labels = Labels.summarised(
        torch.tensor(shown + ignored, device="cpu"),
        tally.ignored,
        classes,
        (
            min([*counts, *ignored]),
            max([*counts, *ignored, *beyond]),
            min(counts),
            max([*counts, *beyond]),
            ids.total - ids.ignored_in_all,
            many,
        ),
        ids.total,
    )
    form = next(form for form in tally.forms.values() if form.kind is Kind.IDS)
    shape = form.operand.shape or (1,)
    call = Call(
        torch.zeros((), device="cpu").expand(shape[0], classes, *shape[1:]),
        torch.zeros((), dtype=torch.int64, device="cpu").expand(shape),
        ignore_index=tally.ignored,
        rejected=True,
        sent=Sent(labels, None, None, None),
    )
    # Of few classes that occur, or beside many labels of each, one that is their number is no sign of where they start.
    usual = sum(counts[value] for value in valid) / max(len(valid), 1)
    single = len(valid) < classes / 2 or counts.get(classes, 0) < RARE * usual
    ignore = ("labels-start-at-one",) if single else ()
    found = next(
        found for found in tellable(findings_of(call, ignore)) if found.cause in (*LABELS, "mask-not-class-ids")
    )
    if found.cause == "label-out-of-range" and tally.classes is None:
        shown_labels = f"label{'s' * (len(wrong) > 1)} {listed(tuple(wrong))}"
        found = replace(found, summary=f"{shown_labels} can be no class {'ids' if len(wrong) > 1 else 'id'}", fix=None)
    seen = Seen()
    places = [ids.places[value] for value in wrong if value in ids.places]
    seen.batches = max([ids.wrong_in.batches, *(place.batches for place in places)])
    seen.samples = _first_of_each([sample for place in places for sample in place.samples])
    yield located(replace(found, operands=(form.operand,)), seen, tally.batches)


RARE = 1 / 20
"""How rare a label is, against the usual one, that is no class like the others."""


def _first_of_each(samples: list[Sample]) -> list[Sample]:
    """The first samples, those that show something new before the others."""
    new: dict[str, Sample] = {}
    for sample in samples:
        new.setdefault(sample.seen, sample)
    ordered = [*new.values(), *(sample for sample in samples if new[sample.seen] is not sample)]
    return sorted(ordered[:FIRST], key=lambda sample: (sample.batch, sample.position or 0))


def classes_of(tally: Tally) -> int:
    """The number of classes, or that which the labels speak for."""
    if tally.classes is not None:
        return tally.classes
    valid = [value for value in tally.ids.counts() if 0 <= value < HUGE]
    # Beside classes that end well below it, this is what masks use for void.
    void = valid and VOID in tally.ids.places and valid[-1] == VOID and (len(valid) < 2 or valid[-2] < VOID - 1)
    if void:
        valid = valid[:-1]
    own = 0 if tally.probabilities.sums is None else len(tally.probabilities.sums)
    return max(valid[-1] + 1 if valid else 0, tally.ids.uncounted + 1, own, 2)


MOST_ROWS = 0.1
"""The share of odd rows up to which the others are sound, and these the exception."""


def _probabilities(tally: Tally, *, complete: bool) -> Iterator[Finding]:
    soft = tally.probabilities
    forms = [form for form in tally.forms.values() if form.kind is Kind.PROBABILITIES]
    if not forms or any(form.finding is not None for form in forms):
        return
    if soft.odd_rows:
        yield from _odd_rows(tally, forms[0])
        return
    # Single batches of a mixup pipeline are one-hot as well; of such, others hold fractions or are no batch of ids.
    beside_ids = any(form.kind is Kind.IDS for form in tally.forms.values())
    enough = complete or beside_ids or soft.batches >= BY_NAME["one-hot-target"].patience
    if not soft.batches or soft.one_hot != soft.batches or not enough:
        return
    (found,) = findings_of(Call(torch.zeros(2, 2, device="cpu"), torch.eye(2, device="cpu")))[:1]
    found = replace(
        found,
        evidence=(f"all of {plural(soft.rows, 'row')} are zeros and a single one",)
        + (("other batches hold class ids",) if beside_ids else ()),
        fix=f"target = target.argmax({forms[0].dim})",
        operands=(forms[0].operand,),
    )
    seen = Seen()
    seen.batches = sum(form.seen.batches for form in forms)
    seen.samples = sorted((sample for form in forms for sample in form.seen.samples), key=lambda sample: sample.batch)
    yield located(found, seen, tally.batches)


def _odd_rows(tally: Tally, form: Form) -> Iterator[Finding]:
    """What the catalogue says of the first rows that are no probabilities."""
    soft = tally.probabilities
    same = [row for row in soft.kept if len(row) == len(soft.kept[0])]
    rows = torch.stack(same).view(len(same), -1, *[1] * (len(form.operand.shape or ()) - 2))
    call = Call(torch.zeros((), dtype=rows.dtype, device="cpu").expand(rows.shape), rows, ignore_index=tally.ignored)
    found = next((finding for finding in findings_of(call) if finding.code.startswith("SCE20")), None)
    if found is None:
        return
    found = replace(
        found, evidence=(f"{soft.odd_rows:,} of {soft.rows:,} rows are no probabilities",), operands=(form.operand,)
    )
    if found.cause == "target-not-normalized" and soft.odd_rows <= MOST_ROWS * soft.rows:
        found = replace(found, help="look at how these rows are made; the others are sound", fix=None)
    yield located(found, soft.odd, tally.batches)


def _weights(tally: Tally, trial: Trial | None, weight: Tensor | None) -> Iterator[Finding]:
    if weight is None:
        return
    classes = tally.classes or min(classes_of(tally), WINDOW)
    dtype = _dtype_of_logits(tally, trial, weight)
    logits = torch.zeros((), dtype=dtype, device=weight.device).expand(classes, classes)
    call = Call(logits, torch.arange(classes, device=weight.device), weight)
    call = replace(call, rejected=broken_clause(call) is not None)
    found = next((found for found in findings_of(call) if found.cause in WEIGHTS), None)
    if found is not None and found.cause == "weight-wrong-dtype" and (trial is None or trial.dtype is None):
        said = f"the weight is {dtype_name(weight)}, and the logits of such inputs are {dtype_name(logits)}"
        found = replace(found, summary=said, confidence=LIKELY)
    if found is not None:
        yield replace(found, operands=tuple(operand for operand in found.operands if operand.name == "weight"))
    if tally.weightless and bool(weight.any()):
        match = Match(
            CERTAIN,
            "every class that occurs in a batch has weight 0: the mean is 0 / 0",
            (),
            "give the classes that occur a weight, or skip such batches",
        )
        yield located(as_finding("weight-invalid", match), tally.weightless, tally.batches)


def _dtype_of_logits(tally: Tally, trial: Trial | None, weight: Tensor) -> torch.dtype:
    """The dtype that a weight is held against: its own where nothing speaks for another."""
    if trial is not None and trial.dtype is not None:
        return trial.dtype
    if all(form.kind is Kind.PROBABILITIES for form in tally.forms.values()):
        return weight.dtype  # with them it may be any
    if not weight.is_floating_point():
        return torch.get_default_dtype()
    # A loop, or autocast, makes inputs narrower before the model sees them, and seldom wider.
    return tally.dtype if weight.dtype is torch.float64 and tally.dtype is not None else weight.dtype


def _inputs(tally: Tally, trial: Trial | None) -> Iterator[Finding]:
    seen = tally.not_finite
    if not seen or is_mended(tally, trial):
        return
    match = Match(
        LIKELY,
        "the inputs hold NaN or infinity, and so will the logits of these samples and the loss of their batches",
        (),
        "mend or leave out these samples where they are read: divisions by zero, logarithms of it, missing values",
    )
    yield located(as_finding("logits-not-finite", match), seen, tally.batches)


def is_mended(tally: Tally, trial: Trial | None) -> bool:
    """Whether the model was seen to give finite logits for inputs that are not."""
    return trial is not None and any(sample.batch in trial.finite for sample in tally.not_finite.samples)


def class_counts(tally: Tally) -> list[float]:
    """How often each class occurs, by id; nothing where there are ids that were not counted."""
    if tally.classes is None and tally.ids.uncounted:
        return []
    sums = [form.one_hot.sums for form in tally.forms.values() if form.one_hot.sums is not None]
    if tally.probabilities.sums is not None:
        sums.append(tally.probabilities.sums)
    if any(form.kind is Kind.IDS for form in tally.forms.values()):
        sums.append(tally.ids.of_classes(classes_of(tally)))
    total = torch.zeros(max(map(len, sums), default=0), dtype=torch.float64, device="cpu")
    for part in sums:
        total[: len(part)] += part
    return [int(count) if count.is_integer() else count for count in total.tolist()]


def labels(tally: Tally) -> int:
    """How many labels there are, ignored and bad ones too; rows, where they are one-hot or class probabilities."""
    return tally.ids.total + tally.probabilities.rows + sum(form.one_hot.rows for form in tally.forms.values())


def shown_targets(tally: Tally) -> dict[str, int]:
    """The forms of the targets as a report shows them, and in how many batches each is."""
    shown: dict[str, int] = {}
    for form in tally.forms.values():
        shown[form.shown] = shown.get(form.shown, 0) + form.seen.batches
    return shown
