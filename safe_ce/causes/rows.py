"""SCE300 to SCE302 and SCE312: the logits and the target hold different numbers of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safe_ce import contract, probe, provenance
from safe_ce.call import labels_in_range
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, Match, cause, plural
from safe_ce.causes.evidence import flattened_from, length_evidence, row_counts, some_are_ignored
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call


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
    clause = clause or f"a label is not the id of one of {plural(call.classes, 'class')}"
    if call.tensors and not call.shape and call.input.is_floating_point():
        help = "pass the logits: a single number is a loss, or a score that was reduced"
        return Match(LIKELY, f"the input is a single number, not logits: {clause}", (), help, odds=0.0)
    help = (
        "native takes logits (N, C) with ids (N,), (N, C, d1, ...) with ids (N, d1, ...), (C,) with one id, or class"
        " probabilities of the logits' own shape"
    )
    return Match(POSSIBLE, f"native refuses this call: {clause}", (), help, odds=0.0)


UNEQUAL = 16
"""A batch is not this many times larger than another one of the same loader."""


@cause("SCE301", "ragged-batch", ERROR)
def ragged_batch(call: Call) -> Match | None:
    """Input and target hold different numbers of samples, for no reason that the shapes show.

    What happens
        Expected input batch_size (32) to match target batch_size (17).
    Why it is wrong
        Every row of logits needs its own label. Often the last batch of a loader is smaller, and one side does not
        follow: a batch size fixed in the model, or labels kept from an earlier batch. Or a collate function leaves bad
        samples out on one side; safe_ce.audit(loader) finds such batches.
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
    counts = row_counts(call)
    if counts is None:
        if not call.tensors or not call.rejected or len(call.shape) < 2 or not call.target_shape:
            return None
        if call.shape[0] == call.target_shape[0]:
            return None
        if call.target_shape[1:] not in (call.shape[2:], call.shape[1:]):
            return None
        counts = call.shape[0], call.target_shape[0]
    rows, targets = counts
    side, help = _side_that_changed(call, rows, targets)
    evidence = "neither count explains the other"
    if not rows or not targets:
        return Match(
            LIKELY,
            f"{plural(rows, 'row')} of logits against {plural(targets, 'target')}: one side is empty",
            (),
            "look for a selection that came back empty, and select on both sides alike",
            odds=0.6,
            input_marks=(0,),
            target_marks=(0,),
        )
    lengths = length_evidence(call, rows, targets)
    unequal = max(rows, targets) >= UNEQUAL * min(rows, targets)
    structured = max(rows, targets) % min(rows, targets) == 0 or lengths >= 0.5 or unequal
    if side:
        confidence, odds = LIKELY, 0.95
    elif flattened_from(call) is not None:
        confidence, odds = POSSIBLE, 0.3
    else:
        confidence, odds = (POSSIBLE, 0.3) if structured else (LIKELY, 0.6)
    return Match(
        confidence,
        f"{plural(rows, 'row')} of logits against {plural(targets, 'target')}: the batch is ragged",
        (side,) if side else () if structured or lengths else (evidence,),
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
    counts = row_counts(call)
    if counts is None:
        return None
    rows, targets = counts
    view = provenance.viewed_from(call.input)
    fold = provenance.folding(call.input, targets)
    if view is not None and len(view) > 1 and view[0] == targets and view[-1] != call.classes:
        evidence = f"a view turned {view} into {call.shape}"
        confidence, odds = CERTAIN, 0.9
    elif fold is not None and fold.before[-1] != fold.features and flattened_from(call) is None:
        evidence = f"a view turned {fold.before} into {(rows, fold.features)}"
        confidence, odds = CERTAIN, 0.9
    elif rows < targets:
        return _batch_folded_into_features(call, rows, targets)
    elif rows % targets or flattened_from(call) is not None or provenance.concatenated(call.input) == rows // targets:
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
    if targets % rows or targets // rows > 4 or some_are_ignored(call):
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
    counts = row_counts(call)
    if counts is None or counts[0] % counts[1] or counts[0] < counts[1] or not call.target_shape:
        return None
    rows, targets = counts
    copies = rows // targets
    how = _repetition(call, copies, targets)
    if how is None and flattened_from(call) is not None and copies > 2:
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
        f"{rows} rows of logits against {plural(targets, 'target')}: every sample is there {copies} times",
        (
            "rows of the logits repeat exactly"
            if how
            else f"the graph shows {copies} tensors concatenated along the batch"
            if joined
            else f"{rows} rows are {copies} for each target",
        ),
        "repeat the labels as the samples were: repeat for whole batches, repeat_interleave for neighbours",
        fix=None if repaired is None else repaired.fix,
        odds=0.95 if how else 0.8 if came_in else 0.65,
        input_marks=(0,),
        target_marks=(0,),
    )


def _repetition(call: Call, copies: int, targets: int) -> str | None:
    """The tensor method that repeats labels as the rows of logits repeat, or None if they do not."""
    if not call.is_readable(call.input) or targets < 2:
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
