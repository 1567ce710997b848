"""SCE209 to SCE211 and SCE213: class ids that are not those of the classes, or none that count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, WARNING, Match, cause, listed, plural
from safe_ce.causes.evidence import bad_ids, class_id_form, places_of
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call
    from safe_ce.repair import Form

MOST_CLASSES = 10**6
"""A head of more outputs than this was not meant."""

VOID = (-100, -1, 255)
"""Ids that data sets and libraries use for what is not to be counted."""


def _same_form(call: Call) -> dict[str, Form]:
    """That a statement changes the target's values alone."""
    return {"target": (call.target_shape, call.target.dtype)}


@cause("SCE209", "labels-start-at-one", ERROR)
def labels_start_at_one(call: Call) -> Match | None:
    """The labels run from 1 to C, and native counts from 0.

    What happens
        IndexError: Target 10 is out of bounds. On CUDA a device-side assert, after which the process is lost.
    Why it is wrong
        C classes are numbered 0 to C - 1. Labels from 1 also train every class under its neighbour's number until the
        largest one turns up.
    Example
        >>> input = torch.randn(6, 4)
        >>> target = torch.tensor([1, 2, 3, 4, 1, 2])
    Fix
        Subtract 1 from the labels where they are read, and add it again where predictions are shown.

        >>> target = target - 1
    How it is recognised, and when sound calls look alike
        The largest label is C and 0 never occurs. Where 0 does occur, or is the ignore_index, the head is one output
        short (SCE210).
    """
    bad = bad_ids(call)
    labels = call.labels
    if bad is None or labels is None or bad.values != (call.classes,):
        return None
    kept = labels.kept
    if kept is None or kept[0] < 1 or call.ignored == 0:
        return None
    ignores = call.ignored is not None and labels.bounds[0] <= call.ignored <= labels.bounds[1]
    clash = call.ignored is not None and 0 < call.ignored < call.classes  # a label moves onto the ignore_index
    kept_as_is = f"target = torch.where(target == {call.ignored}, target, target - 1)"
    statement = kept_as_is if ignores else "target = target - 1"
    repaired = attempt(call, statement, labels="made", gives=_same_form(call))
    return Match(
        # That 0 is absent says something only where it could be expected.
        LIKELY if kept[0] < kept[1] and bad.total >= call.classes else POSSIBLE,
        f"the labels run from {kept[0]:g} to {kept[1]:g} and 0 never occurs; {call.classes} classes are numbered 0 to"
        f" {call.classes - 1}",
        (
            f"the largest label is the number of classes, {call.classes}: {places_of(bad) or 'out of range'}",
            f"0 does not occur in {plural(bad.total, 'label')}",
        ),
        "subtract 1 from the labels where they are read"
        + (", and from the ignore_index" if clash else "")
        + f"; or, if 0 is a class that is only rare, give the head {call.classes + 1} outputs",
        fix=None if repaired is None or clash else repaired.statements,
        odds=0.8,
        input_marks=(call.class_dim,),
    )


@cause("SCE210", "label-out-of-range", ERROR)
def label_out_of_range(call: Call) -> Match | None:
    """A label is not the number of any class.

    What happens
        IndexError: Target 12 is out of bounds. On CUDA a device-side assert, after which the process is lost.
    Why it is wrong
        C outputs have the classes 0 to C - 1. Either the head has too few outputs, or the label is wrong.
    Example
        >>> input = torch.randn(6, 10)
        >>> target = torch.tensor([0, 3, 12, 9, 1, 0])
    Fix
        Give the last layer max(label) + 1 outputs, or mend the labels where they are read.

        >>> input = torch.randn(6, 13)
    How it is recognised, and when sound calls look alike
        An id below 0 or not below C that is not the ignore_index. Labels that start at 1 (SCE209), void ids (SCE211)
        and gray values (SCE212) are told apart by their values.
    """
    bad = bad_ids(call)
    labels = call.labels
    if bad is None or labels is None or labels.kept is None:
        return None
    low, high = (int(bound) for bound in labels.kept)
    which = f"label {bad.values[0]} is" if len(bad.values) == 1 else f"labels {listed(bad.values)} are"
    needs = f"labels up to {high} need a head of {high + 1} outputs" if call.classes <= high < MOST_CLASSES else ""
    below = "negative labels have no class: remap them, or make the void one the ignore_index" if low < 0 else ""
    evidence = [f"{bad.count} of {plural(bad.total, 'label')} out of range"]
    if bad.places:
        evidence.append(f"the first: {places_of(bad)}")
    signs = labels.distinct == (-1, 1)
    if signs:
        below = "labels of -1 and 1 are a convention of other libraries: map them to 0 and 1"
    mend = "" if below else f"{'or ' if needs else ''}mend the labels where they are read"
    halves = attempt(call, "target = (target + 1) // 2", labels="made", gives=class_id_form(call)) if signs else None
    return Match(
        CERTAIN,
        f"{which} out of range for {plural(call.classes, 'class')}, 0 to {call.classes - 1}",
        tuple(evidence),
        "; ".join(part for part in (needs, below, mend) if part),
        fix=None if halves is None else halves.statements,
        odds=0.4,
        input_marks=(call.class_dim,),
    )


@cause("SCE211", "ignore-index-mismatch", ERROR)
def ignore_index_mismatch(call: Call) -> Match | None:
    """A padding or void id in the target is not the ignore_index in force.

    What happens
        IndexError: Target -100 (or 255, or -1) is out of bounds; a void id that is also a class number is trained on.
    Why it is wrong
        Only one id is ignored, -100 unless another is given, and every other one must be a class.
    Example
        >>> input = torch.randn(2, 5, 3, 3)
        >>> target = torch.tensor([[[0, 1, 255], [4, 2, 255], [0, 0, 255]], [[3, 3, 1], [0, 1, 1], [255, 2, 2]]])
    Fix
        Pass the void id as ignore_index to the loss.

        >>> kwargs = dict(ignore_index=255)
    How it is recognised, and when sound calls look alike
        Exactly one id is out of range, it is one that data sets use for void (-100, -1, 255; or C, where another
        ignore_index was chosen and never occurs), and valid classes occur beside it. A mask of nothing but 0 and 255
        is SCE212, and labels of nothing but -1 and 1, or -1, 0 and 1 for 3 classes, may be classes of their own
        (SCE210).
    """
    bad = bad_ids(call)
    labels = call.labels
    if bad is None or labels is None or len(bad.values) != 1:
        return None
    void = bad.values[0]
    # An ignore_index that was chosen and never occurs, beside an id just past the classes.
    past = void == call.classes and call.ignored != -100 and call.ignored not in labels.distinct
    mask = void == call.classes and len(call.target_shape) > 2 and 3 * bad.count < bad.total
    if void not in VOID and not past and not mask:
        return None
    valid = tuple(value for value in labels.distinct if 0 <= value < call.classes)
    statement = f"ignore_index = {void}"
    taken = call.ignored is not None and call.ignored in labels.distinct  # both are void: one of them has to go
    if taken:
        statement = f"target = target.masked_fill(target == {void}, {call.ignored})"
    repaired = attempt(call, statement, labels="made", gives=_same_form(call))
    if repaired is None or (not valid and void != -100):
        return None
    usual = "what Hugging Face labels use" if void == -100 else "a usual void id" if void in VOID else "the class count"
    if void == 255 and valid == (0,):
        confidence, odds = POSSIBLE, 0.5  # a gray mask, more likely
    elif mask and not past and void not in VOID:
        confidence, odds = POSSIBLE, 0.5  # a head that is one output short, more likely
    elif void == -1 and not taken and (valid == (1,) or (valid == (0, 1) and call.classes == 3)):
        confidence, odds = POSSIBLE, 0.5  # classes numbered around 0
    else:
        confidence, odds = LIKELY, 0.7 if past else 0.85 if void != -1 else 0.75
    return Match(
        confidence,
        f"the target marks what is not to be counted with {void}, and ignore_index is {call.ignore_index}",
        (
            f"{bad.count} of {plural(bad.total, 'label')} {'is' if bad.count == 1 else 'are'} {void}, {usual}",
            f"all others are classes{f', {valid[0]} to {valid[-1]}' if labels.few else ''}"
            if valid
            else f"ignore_index is {call.ignore_index}",
        ),
        f"mark both alike: set the {void} to {call.ignore_index}" if taken else f"tell the loss: ignore_index={void}",
        fix=repaired.statements,
        odds=odds,
    )


@cause("SCE213", "all-targets-ignored", WARNING)
def all_targets_ignored(call: Call) -> Match | None:
    """Every target is ignored, so the mean is 0 divided by 0.

    What happens
        The loss is NaN, and the gradient 0. Logged averages become NaN; a GradScaler or a NaN guard may skip the step.
    Why it is wrong
        There is nothing to learn from such a batch: a prompt that fills the whole sequence, an image without labels.
    Example
        >>> input = torch.randn(4, 10)
        >>> target = torch.full((4,), -100)
    Fix
        Skip such batches, or sum (reduction="sum") and divide by max(number of valid targets, 1).

        >>> kwargs = dict(reduction="sum")
    How it is recognised, and when sound calls look alike
        All labels are ignore_index and the reduction is a mean. With "sum" it is 0, and sound.
    """
    labels = call.labels
    if call.rejected or labels is None or call.same_shape or not call.averaged or call.ignored is None:
        return None
    if labels.bounds != (call.ignored, call.ignored):
        return None
    return Match(
        CERTAIN,
        f"every target is ignored ({call.ignored}): the mean over none of them is NaN",
        (f"{plural(call.target.numel(), 'target')}, and nothing but {call.ignored}, the ignore_index",),
        'skip the batch, or use reduction="sum" and divide by max(number of valid targets, 1)',
        fix='reduction = "sum"',
        odds=0.8,
    )
