"""SCE300 to SCE302, SCE306 to SCE308 and SCE312: the input and the target count differently many things."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from safe_ce import contract, probe, provenance
from safe_ce.call import labels_in_range
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, Match, cause, plural
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call, Shape


def _row_counts(call: Call) -> tuple[int, int] | None:
    """The rows of 2-d logits and of a 1-d target that are not equally many, both at least 1, else None."""
    if not call.tensors or not call.rejected or len(call.shape) != 2:
        return None
    target = call.target_shape
    flat = target[:1] if len(target) == 2 and target[1] == 1 else target  # (M, 1) counts M rows as well
    if len(flat) == 2 and flat[1] == call.classes and call.target.is_floating_point():
        flat = flat[:1]  # class probabilities
    if len(flat) != 1 or flat[0] == call.shape[0] or 0 in (flat[0], call.shape[0]):
        return None
    return call.shape[0], flat[0]


def _tokens(call: Call) -> Shape | None:
    """The shape (N, ..., C) that 2-d logits were flattened from, or None."""
    before = provenance.viewed_from(call.input)
    return before if before is not None and len(before) > 2 and before[-1] == call.classes else None


def _some_are_ignored(call: Call) -> bool:
    labels = call.labels
    return labels is not None and call.ignored is not None and labels.bounds[0] <= call.ignored < 0


@cause("SCE300", "contract-broken", ERROR)
def contract_broken(call: Call) -> Match | None:
    """Native refuses the call, and no catalogued mistake explains why.

    What happens
        Native raises; this entry says which clause of its contract the call breaks.
    Why it is wrong
        The loss wants logits of shape (N, C, d1, ...) with class ids of shape (N, d1, ...), or with class probabilities
        of the logits' own shape; unbatched, (C,) with a 0-d id.
    Example
        >>> input = torch.randn(2, 3, 5, 6, 7)
        >>> target = torch.zeros(11, 13, dtype=torch.int64)
    Fix
        Bring input and target into one of the shapes and dtypes that native accepts.

        >>> target = torch.zeros(2, 5, 6, 7, dtype=torch.int64)
    How it is recognised, and when sound calls look alike
        Native itself raised, or is certain to, and nothing more specific fits. It always ranks last.
    """
    if not call.rejected:
        return None
    clause = contract.broken_clause(call)
    if clause is None and labels_in_range(call):
        return None
    clause = clause or f"every label must be the id of one of {plural(call.classes, 'class')}"
    return Match(POSSIBLE, f"native refuses this call: {clause}", (), clause, odds=0.0)


@cause("SCE301", "ragged-batch", ERROR)
def ragged_batch(call: Call) -> Match | None:
    """Input and target hold different numbers of samples, for no reason that the shapes show.

    What happens
        Expected input batch_size (32) to match target batch_size (17).
    Why it is wrong
        Every row of logits needs its own label. Often the last batch of a loader is smaller, and one side does not
        follow: a batch size fixed in the model, or labels kept from an earlier batch.
    Example
        >>> input = torch.randn(32, 10)
        >>> target = torch.zeros(17, dtype=torch.int64)
    Fix
        Take the batch size from the data (x.size(0)), never from a constant; build labels per batch; drop_last=True
        hides it.

        >>> input = input[:17]
    How it is recognised, and when sound calls look alike
        Two row counts without a common structure. If the loss has been called before, the shapes of those calls tell
        which side changed.
    """
    counts = _row_counts(call)
    if counts is None:
        if not call.tensors or not call.rejected or len(call.shape) < 2 or not call.target_shape:
            return None
        if call.shape[0] == call.target_shape[0] or 0 in (call.shape[0], call.target_shape[0]):
            return None
        if call.target_shape[1:] not in (call.shape[2:], call.shape[1:]):
            return None
        counts = call.shape[0], call.target_shape[0]
    rows, targets = counts
    side, help = _side_that_changed(call, rows, targets)
    structured = max(rows, targets) % min(rows, targets) == 0 or _length_evidence(call, rows, targets) >= 0.5
    if side:
        confidence, odds = LIKELY, 0.95
    elif _tokens(call) is not None:
        confidence, odds = POSSIBLE, 0.3
    else:
        confidence, odds = (POSSIBLE, 0.3) if structured else (LIKELY, 0.6)
    return Match(
        confidence,
        f"{plural(rows, 'row')} of logits against {plural(targets, 'target')}: the batch is ragged",
        (side,) if side else () if structured else ("neither count explains the other",),
        help,
        odds=odds,
        input_marks=(0,),
        target_marks=(0,),
    )


def _side_that_changed(call: Call, rows: int, targets: int) -> tuple[str, str]:
    """What the earlier sound calls tell of which side changed, and the help that follows from it."""
    general = "take the batch size from the data, x.size(0), never from a constant, and build the labels per batch"
    alike = [
        (shape[0], target[0])
        for shape, target in call.earlier
        if len(shape) == len(call.shape) and shape[1:] == call.shape[1:] and target
    ]
    if not alike:
        return "", general
    before_rows, before_targets = alike[-1]
    if before_rows == rows and before_targets != targets:
        changed = "dropped" if targets < before_targets else "rose"
        return (
            f"the target {changed} from {before_targets} to {targets} rows, the logits stayed at {rows}: the model"
            " holds a fixed batch size",
            "look in the model for a constant batch size, in view, expand or a stored state, and use x.size(0)",
        )
    if before_targets == targets and before_rows != rows:
        changed = "dropped" if rows < before_rows else "rose"
        return (
            f"the logits {changed} from {before_rows} to {rows} rows, the target stayed at {targets}: labels of an"
            " earlier batch, or built for a full one",
            "take the labels from the same batch as the inputs, and build none for a fixed batch size",
        )
    return "", general


@cause("SCE302", "features-folded-into-batch", ERROR)
def features_folded_into_batch(call: Call) -> Match | None:
    """A view cut every sample into several rows: features were folded into the batch.

    What happens
        Expected input batch_size (16) to match target batch_size (4).
    Why it is wrong
        view(-1, k) keeps k features per row and makes as many rows as it takes. When the images are larger than the
        layer was sized for, a sample fills several rows. Nothing fails until the loss.
    Example
        >>> input = torch.randn(16, 10)
        >>> target = torch.tensor([3, 0, 9, 1])
    Fix
        Keep dim 0 as the batch, x = x.flatten(1) in place of x.view(-1, k), and give the linear layer the number of
        features that then shows.

        >>> input = torch.randn(4, 10)
    How it is recognised, and when sound calls look alike
        The rows of logits are a whole multiple of the targets. A view in the autograd graph that cuts as many samples
        as there are targets makes it certain. Samples that were repeated (SCE312) and unpooled maps (SCE307) are
        multiples as well; equal rows, or the flattened shape in the graph, tell them apart.
    """
    counts = _row_counts(call)
    if counts is None:
        return None
    rows, targets = counts
    view = provenance.viewed_from(call.input)
    fold = provenance.folding(call.input, targets)
    if view is not None and len(view) > 1 and view[0] == targets and view[-1] != call.classes:
        evidence = f"a view turned {view} into {call.shape}"
        confidence, odds = CERTAIN, 0.9
    elif fold is not None and fold.before[-1] != fold.features and _tokens(call) is None:
        evidence = f"a view turned {fold.before} into {(rows, fold.features)}"
        confidence, odds = CERTAIN, 0.9
    elif rows < targets:
        return _batch_folded_into_features(call, rows, targets)
    elif rows % targets or _tokens(call) is not None or provenance.concatenated(call.input) == rows // targets:
        return None
    elif provenance.rows_came_in(call.input):
        evidence = f"{rows} rows are exactly {rows // targets} per sample, though no view in the graph made them"
        confidence, odds = POSSIBLE, 0.4
    else:
        evidence = f"{rows} rows are exactly {rows // targets} per sample; the target has one label per sample"
        confidence, odds = LIKELY, 0.7
    if rows > targets:
        summary = f"{plural(targets, 'sample')} became {rows} rows of logits: features were folded into the batch"
    else:
        summary = f"{plural(targets, 'sample')} became {plural(rows, 'row')} of logits: a view joined samples"
    return Match(
        confidence,
        summary,
        (evidence,),
        "keep dim 0 as the batch: x = x.flatten(1), and size the linear layer for the features that then show",
        odds=odds,
        input_marks=(0,),
        target_marks=(0,),
    )


def _batch_folded_into_features(call: Call, rows: int, targets: int) -> Match | None:
    if targets % rows or targets // rows > 4 or _some_are_ignored(call):
        return None
    return Match(
        POSSIBLE,
        f"{plural(targets, 'sample')} became {plural(rows, 'row')} of logits: a view may have joined samples",
        (f"{targets} targets are exactly {targets // rows} per row",),
        "keep dim 0 as the batch: x = x.flatten(1) in place of x.view(-1, k)",
        odds=0.62,
        input_marks=(0,),
        target_marks=(0,),
    )


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
    counts = _row_counts(call)
    if counts is None:
        return None
    rows, targets = counts
    odds = _length_evidence(call, rows, targets)
    if not odds:
        return None
    tokens = _tokens(call)
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


def _length_evidence(call: Call, rows: int, targets: int) -> float:
    """How much two row counts look like token counts of one batch of sequences; 0 for not at all."""
    tokens = _tokens(call) if len(call.shape) == 2 else None
    if tokens is not None and len(tokens) == 3:
        return 0.85 if targets % tokens[0] == 0 and targets // tokens[0] > 1 else 0.4
    batch = math.gcd(rows, targets)
    if batch == 1 or min(rows, targets) == batch:
        # One divides the other, or neither shares anything; many ids are tokens even so.
        many = batch == 1 and min(rows, targets) > 100
        return 0.55 if many and (call.classes >= 1000 or _some_are_ignored(call)) else 0.0
    steps = sorted((rows // batch, targets // batch))
    odds = 0.35
    if steps[1] - steps[0] == 1 and steps[0] >= 8:
        odds = 0.7  # a shift by one
    elif max(rows, targets) >= 512 or call.classes >= 1000 or _some_are_ignored(call):
        odds = 0.65
    return odds


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
    counts = _row_counts(call)
    if counts is None or counts[0] <= counts[1] or counts[0] % counts[1]:
        return None
    ratio = counts[0] // counts[1]
    tokens = _tokens(call)
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
    repaired = attempt(call, pool)
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
    counts = _row_counts(call)
    if counts is None or counts[1] <= counts[0] or counts[1] % counts[0] or _tokens(call) is not None:
        return None
    ratio = counts[1] // counts[0]
    ignored = _some_are_ignored(call)
    return Match(
        LIKELY if ignored or ratio > 4 else POSSIBLE,
        f"{counts[1]} targets, {ratio} per row of logits: the labels are per position, the scores per sample",
        (f"{counts[1]} targets are exactly {ratio} for each of {plural(counts[0], 'row')}",)
        + ((f"some of them are {call.ignored}, as labels of tokens are",) if ignored else ()),
        "use a head that scores every position, or give one label per sample",
        odds=0.8 if ignored else 0.6,
        input_marks=(0,),
        target_marks=(0,),
    )


@cause("SCE312", "batch-duplicated", ERROR)
def batch_duplicated(call: Call) -> Match | None:
    """The samples were repeated, as views, crops or beams, and the labels were not.

    What happens
        Expected input batch_size (64) to match target batch_size (32).
    Why it is wrong
        Two augmented views of 32 images are 64 rows, and each needs its image's label.
    Example
        >>> input = torch.randn(8, 10).repeat(2, 1)
        >>> target = torch.tensor([3, 0, 9, 1, 4, 4, 2, 7])
    Fix
        Repeat the labels as the samples were: target.repeat(k) where whole batches were concatenated,
        target.repeat_interleave(k) where each sample's copies are neighbours.

        >>> target = target.repeat(2)
    How it is recognised, and when sound calls look alike
        The rows are a whole multiple of the targets, and rows repeat exactly (likely), or the multiple is 2, 5 or 10,
        which views and crops make. Features folded into the batch (SCE302) are multiples too.
    """
    counts = _row_counts(call)
    if counts is None or counts[0] % counts[1] or counts[0] < counts[1] or not call.target_shape:
        return None
    rows, targets = counts
    copies = rows // targets
    how = _repetition(call, copies, targets)
    if how is None and _tokens(call) is not None and copies > 2:
        return None
    joined = provenance.concatenated(call.input) == copies
    came_in = joined or provenance.rows_came_in(call.input)
    if how is None and copies not in (2, 5, 10) and not came_in:
        return None
    if len(call.target_shape) == 1:
        statement = f"target = target.{how or 'repeat'}({copies})"
    else:
        more = ", dim=0" if how == "repeat_interleave" else ", 1"
        statement = f"target = target.{how or 'repeat'}({copies}{more})"
    repaired = attempt(call, statement)
    return Match(
        CERTAIN if how else LIKELY,
        f"{rows} rows of logits against {targets} targets: every sample is there {copies} times",
        (
            "rows of the logits repeat exactly"
            if how
            else f"the graph shows {copies} tensors concatenated along the batch"
            if joined
            else f"{rows} rows are {copies} for each target",
        ),
        "repeat the labels as the samples were: repeat for whole batches, repeat_interleave for neighbours",
        fix=None if repaired is None else repaired.fix,
        odds=0.95 if how else 0.8 if came_in else 0.65 if copies == 2 else 0.72,
        input_marks=(0,),
        target_marks=(0,),
    )


def _repetition(call: Call, copies: int, targets: int) -> str | None:
    """The tensor method that repeats labels as the rows of logits repeat, or None if they do not."""
    if not probe.is_readable(call.input) or targets < 2:
        return None
    few = min(targets, 64)
    with probe.unobserved():
        scores = call.input.reshape(copies, targets, -1)[:, :few]
        distinct = bool((scores[0, 0] != scores[0, 1]).any())
        if distinct and bool((scores == scores[:1]).all()):
            return "repeat"
        grouped = call.input.reshape(targets, copies, -1)[:few]
        distinct = bool((grouped[0, 0] != grouped[1, 0]).any())
        if distinct and bool((grouped == grouped[:, :1]).all()):
            return "repeat_interleave"
    return None
