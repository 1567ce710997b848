"""How native's messages are read: what each means, and the calls or the causes that raise it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from safe_ce.causes.cause import plural

if TYPE_CHECKING:
    from collections.abc import Callable

Sizes = tuple[int | str, ...]


@dataclass(frozen=True)
class Fits:
    """A call that would raise the message.

    Attributes:
        odds: How common such calls are among those that raise it.
        input: The logits' shape; a letter is a size that the message does not tell, two letters are a product.
        target: The target's shape.
        input_dtype: The logits' dtype.
        target_dtype: The target's dtype.
    """

    odds: float
    input: Sizes
    target: Sizes
    input_dtype: str = "float32"
    target_dtype: str = "int64"


@dataclass(frozen=True)
class Named:
    """A cause that the message itself speaks for."""

    odds: float
    cause: str


Guess = Fits | Named


class Reading(NamedTuple):
    """What a message means in one line, and what would raise it."""

    meaning: str
    guesses: tuple[Guess, ...]


def shape_of(text: str) -> tuple[int, ...]:
    """The sizes in ``"2, 5"``."""
    return tuple(map(int, re.findall(r"\d{1,18}", text)))


def named(*causes: str) -> tuple[Guess, ...]:
    """Causes, the likeliest first."""
    return tuple(Named(0.9**rank, cause) for rank, cause in enumerate(causes))


def says(meaning: str, *causes: str) -> Callable[[re.Match[str]], Reading]:
    """A message that has no shapes: the meaning is filled in with the pattern's groups."""

    def read(match: re.Match[str]) -> Reading:
        return Reading(meaning.format(*(group or "another type" for group in match.groups())), named(*causes))

    return read


def rows(match: re.Match[str]) -> Reading:
    """Different batch sizes."""
    rows, targets = int(match[1]), int(match[2])
    both = f"{plural(rows, 'row')} of logits against {plural(targets, 'target')}"
    flat = Fits(0.9, (rows, "C"), (targets,))
    if not targets:
        meaning = f"dim 0 of the logits is {rows}, and the target has no dimension at all: it is a single number"
        return Reading(meaning, (Fits(1.0, (rows, "C"), ()), Fits(0.3, (rows, "C"), (0,))))
    swapped = Fits(0.45 if math.gcd(rows, targets) > 1 else 0.6, (rows, targets, "C"), (targets, rows))
    if not rows:
        return Reading(f"{both}: the logits are empty", (flat,))
    if rows == 1:
        return Reading(
            f"{both}: dim 0 of the logits is 1",
            (
                Fits(1.0, (1, "C", targets, "W"), (targets, "W")),
                Fits(0.9, (1, targets, "C"), (targets,)),
                Fits(0.5, (1, "C", targets), (targets,)),
                flat,
            ),
        )
    guesses: list[Guess]
    if rows % targets == 0:
        each = rows // targets
        side = math.isqrt(each)
        like = f", as of a {side} x {side} map" if side > 1 and side * side == each else ""
        guesses = [flat, Fits(0.6, (rows, "C"), (targets, each)), Named(0.5, "logits-not-pooled"), swapped]
        guesses += [Named(0.55, "ragged-batch"), Named(0.46, "batch-duplicated")]
        if targets == 1:
            guesses += [Fits(0.85, (rows, "H", "W"), (1, "H", "W"))]
        return Reading(f"{both}: {rows} = {targets} * {each}, {each} rows for every target{like}", tuple(guesses))
    if targets % rows == 0:
        each = targets // rows
        guesses = [Fits(0.95, (rows, each, "C"), (targets,)), Fits(0.7, (rows, each), (targets,))]
        guesses += [Named(0.8, "target-not-pooled"), Named(0.65, "one-hot-target"), flat, Named(0.5, "ragged-batch")]
        return Reading(f"{both}: {targets} = {rows} * {each}, {each} labels for every row", tuple(guesses))
    common = math.gcd(rows, targets)
    shared = f"{rows} = {common} * {rows // common} and {targets} = {common} * {targets // common}"
    why = f"both are multiples of {common}, {shared}" if common > 1 else "the counts have no factor in common"
    more = (Named(0.5, "sequence-length-mismatch"), Named(0.4, "features-folded-into-batch"))
    # A view with a stale class count keeps the number of scores, and so a ratio of two class counts.
    last = (Named(0.3, "target-not-pooled"),) if targets > rows else (Named(0.3, "wrong-class-count"),) * (common > 1)
    return Reading(f"{both}: {why}", (flat, swapped, *more, *last))


def target_size(match: re.Match[str]) -> Reading:
    """A target of the wrong size beside logits of three dimensions, or five and more."""
    wanted, got = shape_of(match[1]), shape_of(match[2])
    batch, places = wanted[:1], wanted[1:]
    guesses: list[Guess] = [Fits(0.9, (*batch, "C", *places), got)]
    if len(got) > 1:
        # Where the classes are last, native takes for their number what is the length.
        guesses.insert(0, Fits(1.0, (*batch, got[1], *places), got))
    else:
        guesses.append(Fits(0.8, (*batch, 1, *places), got))
    if len(got) > len(wanted):
        guesses.append(Named(0.7, "one-hot-target"))
    dims = f"the logits are (N, C, d1, ...) with N = {batch[0]} and d1, ... = {_listed(places)}"
    return Reading(f"{dims}, so the target must be {wanted}, and it is {got}", tuple(guesses))


def spatial_target(match: re.Match[str]) -> Reading:
    """A target beside logits (N, C, H, W) that is no mask."""
    wanted = "logits (N, C, H, W) need a mask (N, H, W)"
    if match[2] is not None:
        got = shape_of(match[2])
        spatial = [got[2:], got[1:-1]] if len(got) == 4 else []
        guesses: list[Guess] = [Fits(0.9, (got[0], "C", *places), got) for places in spatial]
        if len(got) != 4:
            guesses += _masks_of(len(got), got[0] if got else "N")
        elif got[1] in (3, 4) or got[3] in (3, 4):
            guesses.append(Named(1.0, "color-mask-target"))
        guesses += [Named(0.5, "one-hot-target"), Named(0.4, "logits-extra-dim")] if len(got) == 4 else []
        return Reading(f"{wanted}, and the target is {got}", tuple(guesses))
    dims = int(match[1])
    return Reading(f"{wanted}, of 3 dimensions, and the target has {dims}", tuple(_masks_of(dims, "N")))


def _masks_of(dims: int, batch: int | str) -> list[Guess]:
    maps: Sizes = (batch, "C", "H", "W")
    by_dims: dict[int, list[Guess]] = {
        0: [Named(1.0, "target-missing-batch-dim")],
        1: [Fits(1.0, maps, (batch,)), Fits(0.9, (batch, "C", 1, 1), (batch,))],
        2: [Fits(1.0, maps, (batch, "HW")), Named(0.7, "target-missing-batch-dim")],
        4: [
            Fits(1.0, maps, (batch, 1, "H", "W")),
            Named(0.9, "color-mask-target"),
            Named(0.8, "one-hot-target"),
            Named(0.5, "logits-extra-dim"),
        ],
    }
    return by_dims.get(dims, [Named(1.0, "target-extra-dim")])


def two_dimensional_target(match: re.Match[str]) -> Reading:
    """A target of several dimensions beside logits of two."""
    # Before class probabilities were taken, in 1.10, a one-hot target was the commonest way to get here.
    old = not match[0].rpartition(": ")[2].startswith("0D")
    meaning = "logits (N, C) need a target of one dimension, (N,), and it has more"
    guesses = (
        Named(0.95 if old else 0.5, "one-hot-target"),
        Fits(1.0, ("N", "C"), ("N", 1)),
        Fits(0.9, ("N", "C"), ("N", "T")),
        Named(0.7, "regression-target"),
        Fits(0.6, ("N",), ("N", "C"), target_dtype="float32"),
    )
    return Reading(meaning, guesses)


def both_sizes(match: re.Match[str]) -> Reading:
    """A message with both shapes."""
    groups = match.groupdict()
    input, target = shape_of(groups["input"]), shape_of(groups["target"])
    guesses: tuple[Guess, ...] = (Fits(1.0, input, target),)
    if len(input) == 1:  # releases differ in what they take there
        guesses += named("arguments-swapped" if len(target) > 1 else "logits-missing-batch-dim")
    return Reading(f"the logits are {input} and the target is {target}", guesses)


def label(match: re.Match[str]) -> Reading:
    """A label out of range."""
    label = int(match[1])
    if label < 0:
        void = " and ignore_index is another number" if label == -100 else ""
        meaning = f"a label is {label}{void}: ids run from 0, and below it only ignore_index is left out"
        return Reading(meaning, named("ignore-index-mismatch", "label-out-of-range"))
    meaning = (
        f"a label is {label}, so there are at most {label} classes, whose ids end at {max(label - 1, 0)} or before"
    )
    if label == 1:
        meaning = "a label is 1, so there is a single class: the model has one output"
        return Reading(meaning, named("single-logit", "label-out-of-range"))
    image = ("mask-not-class-ids", "ignore-index-mismatch")
    usual = ("labels-start-at-one", "label-out-of-range", "wrong-class-count")
    far = ("label-out-of-range", "wrong-class-count", "labels-start-at-one", *image[::-1])
    order = (*image, *usual) if label in range(128, 256) else (*usual, *image) if label < 128 else far
    return Reading(meaning, named(*order))


def dtype(match: re.Match[str]) -> Reading:
    """A target of the wrong dtype, which is the pattern's last group."""
    found = match.groups()[-1]
    meaning = f"class ids must be int64 (Long), and the target is {found}"
    if found in ("Float", "Double", "Half", "BFloat16"):
        return Reading(
            meaning, named("float-index-target", "regression-target", "one-hot-target", "mask-not-class-ids")
        )
    masks = ("mask-not-class-ids",) if found == "Byte" else ()
    return Reading(meaning, named("wrong-int-target", *masks))


def logits_dtype(match: re.Match[str]) -> Reading:
    """Logits of the wrong dtype."""
    if match[1] in ("Half", "BFloat16"):
        return Reading(f"this release of torch does not compute the loss for {match[1]} logits here: use .float()", ())
    causes = ("logits-wrong-dtype", "class-ids-as-logits", "arguments-swapped")
    return Reading(f"the logits must be floating point, and are {match[1]}", named(*causes))


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))
