"""SCE306 to SCE308: steps, pixels or nodes are counted on one side, or differently on both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from safe_ce import provenance
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, Match, cause, plural
from safe_ce.causes.evidence import flattened_from, length_evidence, row_counts, some_are_ignored
from safe_ce.causes.rows import UNEQUAL
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call


@cause("SCE306", "sequence-length-mismatch", ERROR)
def sequence_length_mismatch(call: Call) -> Match | None:
    """Logits and target cover sequences of different lengths.

    What happens
        Expected target size [8, 20], got [8, 19]; flattened, Expected input batch_size (1216) to match target
        batch_size (1280).
    Why it is wrong
        Each step's scores need that step's label. A start token, a shift by one, prompt or image tokens, or truncation
        is on one side only.
    Example
        >>> input = torch.randn(8, 100, 19)
        >>> target = torch.zeros(8, 20, dtype=torch.int64)
    Fix
        Cut both sides to the same steps: for next-token prediction logits[:, :-1] against labels[:, 1:]; truncate
        inputs and labels together.

        >>> target = target[:, 1:]
    How it is recognised, and when sound calls look alike
        The batch sizes agree and the lengths do not; or, flattened, both counts are multiples of one batch size with
        lengths that are close to each other.
    """
    if not call.tensors or not call.rejected:
        return None
    if len(call.shape) == 3 and len(call.target_shape) == 2 and call.shape[0] == call.target_shape[0]:
        return _lengths(call) if call.target_shape[1] > 1 else None  # a column holds one label per sample
    counts = row_counts(call)
    if counts is None:
        return None
    rows, targets = counts
    odds = length_evidence(call, rows, targets)
    if not odds:
        return None
    tokens = flattened_from(call)
    batch = tokens[0] if tokens is not None and targets % tokens[0] == 0 else math.gcd(rows, targets)
    return Match(
        LIKELY if odds >= 0.5 else POSSIBLE,
        f"{rows} rows of logits against {targets} targets: sequences of different lengths were flattened",
        (
            f"{batch} sequences of {rows // batch} steps make the logits, {batch} of {targets // batch} the target",
            *((f"the logits were flattened from {tokens}",) if tokens is not None else ()),
        ),
        "cut both sides to the same steps before flattening: logits[:, :-1] against labels[:, 1:] for a shift by one",
        odds=odds,
        input_marks=(0,),
        target_marks=(0,),
    )


def _lengths(call: Call) -> Match | None:
    """The match for (N, C, T) or (N, T, C) logits against (N, T') ids."""
    steps = call.target_shape[1]
    labels = call.labels
    # Classes in dim 1 is what native wants; ids that do not fit there say that they are last.
    last = provenance.is_linear_output(call.input) or (labels is not None and not labels.fit(call.shape[1]))
    if last and labels is not None and not labels.fit(call.shape[2]) and labels.fit(call.shape[1]):
        last = False
    either = not last and labels is not None and labels.fit(call.shape[2])
    if either and not provenance.is_convolution_output(call.input):
        # The ids fit both dimensions: the lengths are likely those that differ by one.
        last = abs(call.shape[1] - steps) == 1 != abs(call.shape[2] - steps)
    length = call.shape[1] if last else call.shape[2]
    if steps in (length, call.shape[2]):
        return None
    moved = ("input = input.movedim(-1, 1)",) if last else ()
    fix = None
    if abs(length - steps) == 1:
        cut = "target = target[:, 1:]" if steps > length else "input = input[:, :, :-1]"
        repaired = attempt(call, *moved, cut)
        fix = None if repaired is None else repaired.fix
    one = abs(length - steps) == 1
    return Match(
        LIKELY,
        f"the logits cover {plural(length, 'step')} per sequence, the target {steps}",
        (
            "the lengths differ by one: a start or end token, or the shift of next-token prediction, is on one side"
            if one
            else f"both hold {plural(call.shape[0], 'sequence')}",
        ),
        "cut both sides to the same steps" + (": drop the last logits or the first label" if one else ""),
        fix=fix,
        odds=0.85 if one else 0.75,
        input_marks=(1 if last else 2,),
        target_marks=(1,),
    )


@cause("SCE307", "logits-not-pooled", ERROR)
def logits_not_pooled(call: Call) -> Match | None:
    """The model scores every step, pixel or node, and there is one label per sample.

    What happens
        A shape error that asks for a target of two or three dimensions, or a row count that is a large multiple.
    Why it is wrong
        One label cannot say what each position should be. The positions must be pooled into one row of scores.
    Example
        >>> input = torch.randn(4, 10, 7, 7)
        >>> target = torch.tensor([3, 0, 9, 1])
    Fix
        Pool before the loss, by a mean over the positions, the last step or the class token; or load labels per
        position.

        >>> input = input.mean((2, 3))
    How it is recognised, and when sound calls look alike
        Logits of three dimensions or more against a target of one, with equal batch sizes; or flattened logits whose
        graph, or whose row ratio, is that of a map.
    """
    if not call.tensors or not call.rejected or not call.target_shape:
        return None
    batch = call.target_shape[0]
    per_sample = call.target_shape[1:] in ((), (1,))
    if len(call.shape) > 2 and per_sample and batch in call.shape[:2]:
        return _unpooled(call, batch)
    counts = row_counts(call)
    if counts is None or counts[0] <= counts[1]:
        return None
    if counts[0] % counts[1]:
        return _nodes(*counts) if counts[0] >= UNEQUAL * counts[1] else None
    ratio = counts[0] // counts[1]
    tokens = flattened_from(call)
    fold = provenance.folding(call.input, counts[1])
    if tokens is not None and counts[1] in tokens[:2]:
        evidence, confidence, odds = f"the logits were flattened from {tokens}", CERTAIN, 0.85
    elif fold is not None and fold.before[-1] == fold.features:
        evidence, confidence, odds = f"a view turned {fold.before} into {(counts[0], fold.features)}", LIKELY, 0.8
    else:
        side = math.isqrt(ratio)
        if side * side != ratio and ratio < 32:
            return None
        evidence = f"{ratio} rows per label" + (f", as a map of {side} x {side} has" if side * side == ratio else "")
        confidence, odds = (LIKELY, 0.75) if ratio >= 28 * 28 else (POSSIBLE, 0.45)
    return Match(
        confidence,
        f"{counts[0]} rows of logits, {ratio} per label: the scores are per position, the labels per sample",
        (evidence,),
        "pool the positions into one row of scores per sample, or load one label per position",
        odds=odds,
        input_marks=(0,),
        target_marks=(0,),
    )


def _nodes(rows: int, targets: int) -> Match:
    """The match for far more rows than labels, without a common multiple: nodes of graphs, boxes of images."""
    return Match(
        LIKELY,
        f"{rows} rows of logits against {plural(targets, 'target')}: the scores are per position, the labels per sample",
        (f"about {rows // targets} rows per label, which no batch of another size explains",),
        "pool the positions into one row of scores per sample, or load one label per position",
        odds=0.65,
        input_marks=(0,),
        target_marks=(0,),
    )


def _unpooled(call: Call, batch: int) -> Match | None:
    """The match for logits of three dimensions or more against one label per sample."""
    time_first = call.shape[0] != batch
    labels = call.labels
    first, last = call.shape[1], call.shape[-1]
    classes_last = len(call.shape) == 3 and (
        time_first or provenance.is_linear_output(call.input) or not provenance.is_convolution_output(call.input)
    )
    if labels is not None and not time_first:
        if not labels.fit(first) and labels.fit(last):
            classes_last = True
        elif not labels.fit(last) and labels.fit(first):
            classes_last = False
    if time_first and len(call.shape) != 3:
        return None
    dims: tuple[int, ...]
    if time_first:
        dims, pool = (0,), "input = input[-1]"
        what = f"{call.shape[0]} steps, with the batch of {batch} in dim 1"
    elif classes_last:
        dims = tuple(range(1, len(call.shape) - 1))
        pool = f"input = input.mean({dims[0] if len(dims) == 1 else dims})"
        what = f"positions in {'dim' if len(dims) == 1 else 'dims'} {', '.join(map(str, dims))}, classes last"
    else:
        dims = tuple(range(2, len(call.shape)))
        pool = f"input = input.mean({dims[0] if len(dims) == 1 else dims})"
        what = f"positions in {'dim' if len(dims) == 1 else 'dims'} {', '.join(map(str, dims))}"
    if all(call.shape[dim] == 1 for dim in dims):
        return None
    rest = tuple(size for dim, size in enumerate(call.shape) if dim not in dims)
    repaired = attempt(call, pool, gives={"input": (rest, call.input.dtype)})
    if repaired is None:
        return None
    return Match(
        LIKELY if repaired.labels_fit is not False else POSSIBLE,
        f"the logits score every position, {call.shape}; the target has one label per sample, {call.target_shape}",
        (what,),
        "pool the positions (a mean, the last step, the class token), or load one label per position",
        fix=repaired.fix,
        odds=0.7,
        input_marks=dims,
    )


@cause("SCE308", "target-not-pooled", ERROR)
def target_not_pooled(call: Call) -> Match | None:
    """There is one row of scores per sample, and a label for every step, pixel or node.

    What happens
        "0D or 1D target tensor expected, multi-target not supported", or a target batch size that is a multiple.
    Why it is wrong
        A head that pools, such as a sequence classifier's, gives one answer per sample; the labels ask one per
        position.
    Example
        >>> input = torch.randn(8, 5)
        >>> target = torch.zeros(8, 32, dtype=torch.int64)
    Fix
        Use a head that scores every position (a token classifier, a decoder), or give one label per sample.

        >>> target = target[:, 0]
    How it is recognised, and when sound calls look alike
        Logits of shape (N, C) against ids of shape (N, T) or (N, H, W); or flattened, where ignored labels among
        the targets show that they are labels of tokens.
    """
    if not call.tensors or not call.rejected or len(call.shape) != 2:
        return None
    labels = call.labels
    if call.target.is_floating_point() and (labels is None or not labels.whole):
        return None
    if call.same_shape and labels is not None and labels.bounds[0] >= 0 and labels.bounds[1] <= 1:
        return None  # one-hot (SCE201) or multi-label (SCE202)
    if len(call.target_shape) > 1 and call.target_shape[0] == call.shape[0] and math.prod(call.target_shape[1:]) > 1:
        per = call.target_shape[1:]
        return Match(
            LIKELY,
            f"one row of scores per sample, {call.shape}, against labels per position, {call.target_shape}",
            (f"every sample has {math.prod(per)} labels, of shape {per}",),
            "use a head that scores every position, or give one label per sample",
            odds=0.6,
            target_marks=tuple(range(1, len(call.target_shape))),
        )
    counts = row_counts(call)
    if counts is None or counts[1] <= counts[0] or flattened_from(call) is not None:
        return None
    if counts[1] % counts[0] and counts[1] < UNEQUAL * counts[0]:
        return None
    ratio = counts[1] // counts[0]
    ignored = some_are_ignored(call)
    return Match(
        LIKELY if ignored or ratio > 4 else POSSIBLE,
        f"{counts[1]} targets, {ratio} per row of logits: the labels are per position, the scores per sample",
        (
            f"{counts[1]} targets are {'about' if counts[1] % counts[0] else 'exactly'} {ratio} for each of"
            f" {plural(counts[0], 'row')}",
        )
        + ((f"some of them are {call.ignored}, as labels of tokens are",) if ignored else ()),
        "use a head that scores every position, or give one label per sample",
        odds=0.8 if ignored else 0.6,
        input_marks=(0,),
        target_marks=(0,),
    )
