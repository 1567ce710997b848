"""SCE207 to SCE214: the target has the shape of class ids, and the wrong dtype or the wrong values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from safe_ce import contract, probe
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, WARNING, Match, cause, dtype_name, listed, plural
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Bad, Call
    from safe_ce.repair import Form

MOST_CLASSES = 10**6
"""A head of more outputs than this was not meant."""

VOID = (-100, -1, 255)
"""Ids that data sets and libraries use for what is not to be counted."""


def _has_id_shape(call: Call) -> bool:
    """Whether the call's shapes are those of logits and class ids, up to stray dimensions of size 1."""
    if not call.tensors or not call.shape or call.same_shape:
        return False
    wanted = contract.index_target_shape(call.shape)
    return [s for s in call.target_shape if s != 1] == [s for s in wanted if s != 1]


def _ids_of(call: Call) -> dict[str, Form]:
    """That a statement makes the target int64 in the shape that it has."""
    return {"target": (call.target_shape, torch.int64)}


def _same_form(call: Call) -> dict[str, Form]:
    """That a statement changes the target's values alone."""
    return {"target": (call.target_shape, call.target.dtype)}


def _bad_ids(call: Call) -> Bad | None:
    """The ids out of range of a rejected call that holds whole-number labels, or None."""
    labels = call.labels
    if not call.rejected or labels is None or not _has_id_shape(call) or not call.classes or call.classes == 1:
        return None
    if not labels.whole or labels.fit(call.classes) or not all(map(math.isfinite, labels.bounds)):
        return None
    found = labels.bad(call.classes)
    return found if found.count else None


def _where(bad: Bad) -> str:
    """``"7 at [3], 9 at [5]"``, for a note."""
    return ", ".join(f"{value} at {list(place)}" for place, value in bad.places)


def _fractions(call: Call) -> tuple[float, ...]:
    """The distinct target values that are finite and no whole numbers."""
    values = () if call.labels is None else call.labels.distinct
    return tuple(value for value in values if math.isfinite(value) and value != int(value))


def _not_finite(target: Tensor) -> int:
    """How many values of a readable floating-point target are NaN or infinite."""
    with probe.unobserved():
        return sum(int((~piece.float().isfinite()).sum()) for piece in probe.pieces(target))


@cause("SCE207", "float-index-target", ERROR)
def float_index_target(call: Call) -> Match | None:
    """The class ids are stored as floating point.

    What happens
        RuntimeError: expected target dtype to be Long or Byte, but got Float.
    Why it is wrong
        Native tells ids from class probabilities by shape, and ids must be integers: float32 cannot even hold every
        integer above 16,777,216.
    Example
        >>> input = torch.randn(4, 10)
        >>> target = torch.tensor([3.0, 0.0, 9.0, 1.0])
    Fix
        Cast the target to int64, best where it is read: target.long().

        >>> target = target.long()
    How it is recognised, and when sound calls look alike
        A floating-point target of the shape of class ids, all of whose values are whole numbers, but for NaN where
        labels are missing. With fractions it is a regression target (SCE214).
    """
    if not call.tensors or not call.rejected or not call.target.is_floating_point() or not _has_id_shape(call):
        return None
    labels = call.labels
    odd = 0 if labels is None else _not_finite(call.target)
    if labels is not None and not labels.whole and (not odd or _fractions(call)):
        return None
    repaired = attempt(call, "target = target.long()", gives=_ids_of(call))
    if repaired is None:
        return None
    if labels is None:
        return Match(
            LIKELY,
            f"the class ids are {dtype_name(call.target)}; native wants int64",
            ("a target of this shape must hold class ids",),
            "cast the target where it is read: target.long()",
            fix=repaired.fix,
            odds=0.6,
        )
    if odd:
        return Match(
            LIKELY,
            f"the class ids are {dtype_name(call.target)} with NaN or inf among them; native wants int64",
            (f"{odd} of {plural(call.target.numel(), 'label')} not finite, as a table's missing entries are read",),
            "drop the samples without a label or give them the ignore_index, then cast the target: target.long()",
            odds=0.8,
        )
    low, high = labels.bounds
    return Match(
        CERTAIN if repaired.labels_fit else POSSIBLE,
        f"the class ids are {dtype_name(call.target)}; native wants int64",
        (f"every value looked at is a whole number, from {low:g} to {high:g}",),
        "cast the target where it is read: target.long()",
        fix=repaired.fix,
        odds=0.8,
    )


@cause("SCE208", "wrong-int-target", ERROR)
def wrong_int_target(call: Call) -> Match | None:
    """The class ids are integers of a dtype that native does not take.

    What happens
        RuntimeError: expected target dtype to be Long or Byte, but got Int.
    Why it is wrong
        Class ids are int64. NumPy on Windows makes int32, masks are read as uint8, comparisons make bool. uint8 is
        taken for targets of one dimension only, and not on every backend.
    Example
        >>> input = torch.randn(4, 10)
        >>> target = torch.tensor([3, 0, 9, 1], dtype=torch.int32)
    Fix
        Cast the target to int64: target.long().

        >>> target = target.long()
    How it is recognised, and when sound calls look alike
        int8, int16, int32, unsigned or bool ids of the right shape and range. uint8 ids of shape (N,) are sound.
    """
    if not call.tensors or not call.rejected or not _has_id_shape(call) or call.input.dtype not in contract.FLOATS:
        return None
    dtype, labels = call.target.dtype, call.labels
    if dtype is torch.int64 or dtype.is_floating_point or dtype.is_complex:
        return None
    if labels is not None and not labels.fit(call.classes) and contract.broken_clause(call) is None:
        return None  # uint8 is accepted here: it is the values that are not
    repaired = attempt(call, "target = target.long()", gives=_ids_of(call))
    if repaired is None:
        return None
    rank = contract.index_target_shape(call.shape) == call.target_shape
    return Match(
        CERTAIN if repaired.labels_fit is not False and rank else POSSIBLE,
        f"the class ids are {dtype_name(call.target)}; native wants int64",
        ("the shapes fit; only the dtype of the target does not",) if rank else (),
        "cast the target where it is read: target.long()",
        fix=repaired.fix,
        odds=0.85,
    )


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
    bad = _bad_ids(call)
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
            f"the largest label is the number of classes, {call.classes}: {_where(bad) or 'out of range'}",
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
    bad = _bad_ids(call)
    labels = call.labels
    if bad is None or labels is None or labels.kept is None:
        return None
    low, high = (int(bound) for bound in labels.kept)
    which = f"label {bad.values[0]} is" if len(bad.values) == 1 else f"labels {listed(bad.values)} are"
    needs = f"labels up to {high} need a head of {high + 1} outputs" if call.classes <= high < MOST_CLASSES else ""
    below = "negative labels have no class: remap them, or make the void one the ignore_index" if low < 0 else ""
    evidence = [f"{bad.count} of {plural(bad.total, 'label')} out of range"]
    if bad.places:
        evidence.append(f"the first: {_where(bad)}")
    signs = labels.distinct == (-1, 1)
    if signs:
        below = "labels of -1 and 1 are a convention of other libraries: map them to 0 and 1"
    halves = attempt(call, "target = (target + 1) // 2", labels="made", gives=_ids_of(call)) if signs else None
    return Match(
        CERTAIN,
        f"{which} out of range: the input has {call.classes} classes, 0 to {call.classes - 1}",
        tuple(evidence),
        "; ".join(part for part in (needs, below, "" if below else "or mend the labels where they are read") if part),
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
    bad = _bad_ids(call)
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
            f"all others are classes, {valid[0]} to {valid[-1]}" if valid else f"ignore_index is {call.ignore_index}",
        ),
        f"mark both alike: set the {void} to {call.ignore_index}" if taken else f"tell the loss: ignore_index={void}",
        fix=repaired.statements,
        odds=odds,
    )


@cause("SCE212", "mask-not-class-ids", ERROR)
def mask_not_class_ids(call: Call) -> Match | None:
    """The mask holds gray values, 0 and 255 or a palette's, instead of class ids.

    What happens
        IndexError: Target 255 is out of bounds.
    Why it is wrong
        An image file stores shades; the loss wants the number of a class in every pixel.
    Example
        >>> input = torch.randn(1, 2, 4, 4)
        >>> target = torch.tensor([0, 255, 255, 0] * 4).view(1, 4, 4)
    Fix
        Map each shade to its class id after reading the mask, and resize masks with nearest-neighbour interpolation, so
        that no shades arise in between.

        >>> target = (target > 0).long()
    How it is recognised, and when sound calls look alike
        Two or more widely spaced values of 0 to 255 that do not fit the classes, in an image; or only 0 and 255; or floats
        that are ids divided by 255, or interpolated between ids.
        Classes 0 to C - 1 beside a single 255 are a mask with a void id (SCE211).
    """
    scaled = _scaled_mask(call)
    if scaled is not None:
        return scaled
    bad = _bad_ids(call)
    labels = call.labels
    if bad is None or labels is None or labels.kept is None or not labels.few:
        return None
    values = tuple(int(value) for value in labels.distinct if value != call.ignored)
    if values[0] < 0 or values[-1] > 255 or len(values) < 2:
        return None
    two = values in ((0, 32), (0, 64), (0, 128), (0, 255))
    image = len(call.target_shape) >= 3 or (len(call.target_shape) == 2 and min(call.target_shape) > 16)
    apart = (values[-1] - values[0]) / (len(values) - 1)
    if not two and not (image and len(bad.values) >= 2 and (apart >= 5 or values[-1] == 255)):
        return None
    plain = len(values) == 2 and values[0] == 0 and call.ignored not in labels.distinct
    binary = "target = (target > 0).long()"
    repaired = attempt(call, binary, labels="made", gives=_ids_of(call)) if plain else None
    return Match(
        LIKELY,
        f"the mask holds gray values, {listed(values)}, not the ids of {call.classes} classes",
        (
            f"{plural(len(values), 'distinct value')}, {apart:.0f} apart on average, where ids are next to each other",
            f"{bad.count} of {plural(bad.total, 'label')} out of range",
        ),
        "map each shade to its class id where the mask is read, and resize masks with nearest-neighbour interpolation",
        fix=None if repaired is None else repaired.statements,
        odds=0.9,
    )


def _is_image(call: Call) -> bool:
    return len(call.target_shape) > 2


def _scaled_mask(call: Call) -> Match | None:
    """The match for a floating-point mask that was divided by 255, or interpolated."""
    labels = call.labels
    if labels is None or not call.rejected or not call.target.is_floating_point() or not _has_id_shape(call):
        return None
    fractions = _fractions(call)
    if not fractions or not _is_image(call):
        return None
    levels = tuple(value * 255 for value in labels.distinct)
    if labels.bounds[0] >= 0 and labels.bounds[1] <= 1 and all(abs(level - round(level)) < 1e-2 for level in levels):
        repaired = attempt(call, "target = (target * 255).round().long()", labels="made", gives=_ids_of(call))
        fits = repaired is not None and round(levels[-1]) < call.classes
        return Match(
            LIKELY,
            f"the mask was scaled to 0 to 1: its values are {listed(tuple(round(level) for level in levels))} out of 255",
            ("every value is a whole number divided by 255, as ToTensor divides images",),
            "read the mask without that transform: torch.as_tensor(numpy.array(mask)), int64",
            fix=repaired.statements if repaired is not None and fits else None,
            odds=0.9,
        )
    whole = sum(labels.share(value) for value in labels.distinct if value == int(value))
    if whole < MOSTLY:
        return None
    return Match(
        LIKELY,
        f"the mask was interpolated: {whole:.0%} of its values are ids, the others lie in between",
        (f"values between ids: {listed(tuple(f'{value:g}' for value in fractions), 4)}",),
        "resize masks with nearest-neighbour interpolation",
        odds=0.8,
    )


MOSTLY = 0.3
"""The share of whole values of an interpolated mask: all pixels but those near a boundary."""


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


@cause("SCE214", "regression-target", ERROR)
def regression_target(call: Call) -> Match | None:
    """The targets are real numbers, not classes.

    What happens
        RuntimeError: expected target dtype to be Long or Byte, but got Float.
    Why it is wrong
        Prices, ratings and temperatures are points on a line; cross-entropy picks one of several classes.
    Example
        >>> input = torch.randn(4, 2)
        >>> target = torch.tensor([5.0, 3.8, 2.6, 4.25])
    Fix
        Give the model one output and use a regression loss, nn.MSELoss or nn.L1Loss; or cut the range into classes.

        >>> target = torch.tensor([1, 1, 0, 1])
    How it is recognised, and when sound calls look alike
        A floating-point target of the shape of class ids that has fractions, or one per score of shape (N,), beyond 0
        to 1, which native accepts (a finding of severity warning). Whole numbers are ids in the wrong dtype (SCE207),
        and floats of the input's own shape are class probabilities.
    """
    labels = call.labels
    if labels is None or not call.tensors or labels.whole or not call.target.is_floating_point():
        return None
    fractions = _fractions(call)
    if not fractions:
        return None  # ids with NaN among them
    low, high = labels.bounds
    one_each = call.same_shape and len(call.shape) == 1 and call.shape[0] > 1 and not call.rejected
    if one_each:
        # An unbatched call with class probabilities is sound; with prices it is a model of one output.
        if low >= 0 and high <= 1:
            return None
    elif not call.rejected or not _has_id_shape(call):
        return None
    return Match(
        LIKELY,
        "the target holds real numbers"
        + (f", from {low:g} to {high:g}" if math.isfinite(low) and math.isfinite(high) else "")
        + ", not class ids",
        (f"values with fractions: {listed(tuple(f'{value:g}' for value in fractions), 4)}",),
        "for real-valued targets use a regression loss such as nn.MSELoss; for classes pass integer ids",
        severity=WARNING if one_each else ERROR,
        odds=0.7,
    )
