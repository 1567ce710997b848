"""SCE303 to SCE305, SCE309 and SCE314: the right things in the wrong dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safe_ce import provenance
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, WARNING, Match, cause
from safe_ce.causes.evidence import flattened_from, row_counts, sums_to_one
from safe_ce.repair import attempt

if TYPE_CHECKING:
    from safe_ce.call import Call


@cause("SCE303", "class-dim-last", ERROR)
def class_dim_last(call: Call) -> Match | None:
    """The classes are in the last dimension of the logits, and native wants them in dim 1.

    What happens
        Expected target size [32, 949], got [32, 51]; or nothing, where the sizes coincide or the target is soft.
    Why it is wrong
        Native reads (N, C, d1, ...). Given (N, T, C) it takes the steps for classes and applies softmax over them.
    Example
        >>> input = torch.randn(2, 7, 5)
        >>> target = torch.zeros(2, 7, dtype=torch.int64)
    Fix
        Move the classes to dim 1, or flatten both sides: logits.reshape(-1, C), target.reshape(-1).

        >>> input = input.movedim(-1, 1)
    How it is recognised, and when sound calls look alike
        With the last dimension moved to dim 1 the call meets the contract. Where native accepts: a soft target of the
        same shape sums to 1 along the last dimension and not along dim 1 (certain), or a bare linear layer's output of
        as many steps as classes (likely).
    """
    if not call.tensors or len(call.shape) < 3 or call.shape[-1] == 1:
        return None
    last = len(call.shape) - 1
    moved = "input = input.movedim(-1, 1)"
    if call.same_shape and call.target.is_floating_point():
        if not sums_to_one(call.target_rows(last)) or sums_to_one(call.target_rows(1)):
            return None
        repaired = attempt(call, moved, "target = target.movedim(-1, 1)")
        return Match(
            CERTAIN,
            f"the classes are in the last dimension of {call.shape}; softmax runs over dim 1",
            ("the target's rows sum to 1 along the last dimension, and not along dim 1",),
            "move the classes to dim 1, on both sides",
            fix=None if repaired is None else repaired.fix,
            odds=0.95,
            input_marks=(last,),
            target_marks=(last,),
        )
    if not call.rejected:
        if call.shape[1] != call.shape[-1] or not provenance.is_linear_output(call.input):
            return None
        repaired = attempt(call, moved)
        if repaired is None:
            return None
        return Match(
            LIKELY,
            f"the classes are likely in the last dimension of {call.shape}; softmax runs over dim 1",
            (
                "the input comes straight from a linear layer, whose outputs are in the last dimension",
                f"native cannot tell: dims 1 and {last} have the same size, {call.shape[1]}",
            ),
            "move the classes to dim 1",
            fix=repaired.fix,
            severity=WARNING,
            odds=0.6,
            input_marks=(last,),
        )
    if attempt(call) is not None and not provenance.is_linear_output(call.input):
        return None  # as they are the shapes fit as well, and something else is wrong
    repaired = attempt(call, moved)
    if repaired is not None:
        return Match(
            CERTAIN if repaired.labels_fit else LIKELY if repaired.labels_fit is None else POSSIBLE,
            f"the classes are in the last dimension, {call.shape}; native wants them in dim 1",
            (f"{call.target_shape} is the input's shape without its last dimension",),
            "move the classes to dim 1, or flatten both sides: input.reshape(-1, C) and target.reshape(-1)",
            fix=repaired.fix,
            odds=0.9,
            input_marks=(last,),
        )
    for dim in range(last - 1, 1, -1):
        repaired = attempt(call, f"input = input.movedim({dim}, 1)")
        if repaired is not None and repaired.labels_fit:
            return Match(
                LIKELY,
                f"the classes are in dim {dim} of {call.shape}; native wants them in dim 1",
                (f"{call.target_shape} is the input's shape without dim {dim}",),
                "move the classes to dim 1",
                fix=repaired.fix,
                odds=0.9,
                input_marks=(dim,),
            )
    labels = call.labels
    if (
        len(call.target_shape) == len(call.shape) - 1
        and call.shape[0] == call.target_shape[0]
        and call.shape[2:] != call.target_shape[1:]
        and labels is not None
        and not labels.fit(call.shape[1])
        and labels.fit(call.shape[-1])
    ):
        return Match(
            LIKELY,
            f"the classes are in the last dimension, {call.shape}, and the other sizes differ from the target's",
            (f"labels up to {labels.bounds[1]:g} fit dim {last}, not dim 1",),
            "move the classes to dim 1, and bring both sides to the same steps",
            odds=0.77,
            input_marks=tuple(range(1, len(call.shape))),
            target_marks=tuple(range(1, len(call.target_shape))),
        )
    return None


@cause("SCE304", "one-side-flattened", ERROR)
def one_side_flattened(call: Call) -> Match | None:
    """One side was flattened to rows, the other was not.

    What happens
        Expected input batch_size (32) to match target batch_size (2), with a target of two dimensions or more.
    Why it is wrong
        Scores in rows, (N * T, C), need ids in a row, (N * T,).
    Example
        >>> input = torch.randn(14, 5)
        >>> target = torch.zeros(2, 7, dtype=torch.int64)
    Fix
        Flatten both sides alike: input.reshape(-1, C) and target.reshape(-1).

        >>> target = target.reshape(-1)
    How it is recognised, and when sound calls look alike
        With the other side flattened too, the call meets the contract.
    """
    if not call.tensors or not call.rejected:
        return None
    dims = len(call.shape)
    soft = _one_soft_side_flattened(call)
    if soft is not None:
        return soft
    if dims == 2 and len(call.target_shape) > 1:
        repaired = attempt(call, "target = target.reshape(-1)")
        if repaired is None or call.target_shape[0] == call.shape[0]:
            return None
        flat, whole = "the logits", "the target"
    elif dims > 2 and len(call.target_shape) == 1:
        last = "input = input.reshape(-1, input.shape[-1])"
        second = "input = input.movedim(1, -1).reshape(-1, input.shape[1])"
        ways = (last, second) if dims == 3 and not provenance.is_convolution_output(call.input) else (second, last)
        tried = [attempt(call, way) for way in ways]
        fitting = [repaired for repaired in tried if repaired is not None]
        if not fitting:
            return None
        repaired = next((repaired for repaired in fitting if repaired.labels_fit), fitting[0])
        if call.target_shape[0] == call.shape[0]:
            return None
        flat, whole = "the target", "the logits"
    else:
        return None
    return Match(
        CERTAIN if repaired.labels_fit else LIKELY if repaired.labels_fit is None else POSSIBLE,
        f"{flat} were flattened to rows and {whole} were not: {call.shape} against {call.target_shape}".replace(
            "the target were flattened", "the target was flattened"
        ).replace("the target were not", "the target was not"),
        (f"flattened, both sides have {call.shape[0] if dims == 2 else call.target_shape[0]} rows",),
        "flatten both sides alike",
        fix=repaired.fix,
        odds=0.85,
        input_marks=tuple(dim for dim in range(dims) if dim != 1) if dims > 2 else (0,),
        target_marks=tuple(range(len(call.target_shape))),
    )


def _one_soft_side_flattened(call: Call) -> Match | None:
    """The match for class probabilities, (N * T, C) on one side and (N, ..., C) on the other."""
    if not call.target.is_floating_point() or not call.shape or call.target_shape[-1:] != call.shape[-1:]:
        return None
    if {2} != {min(len(call.shape), len(call.target_shape))} or len(call.shape) == len(call.target_shape):
        return None
    whole, flat = ("target", "logits") if len(call.shape) == 2 else ("input", "target")
    repaired = attempt(call, f"{whole} = {whole}.reshape(-1, {call.shape[-1]})")
    if repaired is None:
        return None
    return Match(
        CERTAIN,
        f"the {flat} {'were' if flat == 'logits' else 'was'} flattened to rows and the other side was not:"
        f" {call.shape} against {call.target_shape}",
        (f"flattened, both sides are rows of {call.shape[-1]}",),
        "flatten both sides alike",
        fix=repaired.fix,
        odds=0.85,
        input_marks=tuple(range(len(call.shape) - 1)),
        target_marks=tuple(range(len(call.target_shape) - 1)),
    )


@cause("SCE305", "time-batch-swapped", ERROR)
def time_batch_swapped(call: Call) -> Match | None:
    """One side has time first, the other has the batch first.

    What happens
        A batch size that does not match: the number of steps stands against the number of samples.
    Why it is wrong
        nn.RNN, nn.LSTM, nn.GRU and nn.Transformer put time first unless batch_first=True; loaders put the batch first.
    Example
        >>> input = torch.randn(7, 2, 5)
        >>> target = torch.zeros(2, 7, dtype=torch.int64)
    Fix
        Build the layer with batch_first=True, or permute: (T, N, C) to (N, C, T) is input.permute(1, 2, 0).

        >>> input = input.permute(1, 2, 0)
    How it is recognised, and when sound calls look alike
        With the first two dimensions exchanged the call meets the contract, and not with the classes moved alone. Where
        a model scores whole sequences, the graph shows it: of ids of shape (N, T) came T rows.
    """
    if call.tensors and call.rejected and len(call.shape) == 2:
        return _step_of_the_batch(call)
    if not call.tensors or not call.rejected or len(call.shape) < 3 or len(call.target_shape) != len(call.shape) - 1:
        return None
    if len(call.shape) != 3 or call.target_shape[0] == call.shape[0]:
        return None
    for statement in ("input = input.permute(1, 2, 0)", "target = target.transpose(0, 1)"):
        repaired = attempt(call, statement)
        if repaired is None:
            continue
        side = "logits have" if statement.startswith("input") else "target has"
        return Match(
            CERTAIN if repaired.labels_fit else LIKELY if repaired.labels_fit is None else POSSIBLE,
            f"time and batch are swapped: {call.shape} against {call.target_shape}",
            (f"exchanged, the shapes fit: the {side} time where the batch goes",),
            "build the layer with batch_first=True, or exchange the two dimensions",
            fix=repaired.fix,
            odds=0.85,
            input_marks=(0, 1) if statement.startswith("input") else (0, 2),
            target_marks=(0, 1),
        )
    return None


def _step_of_the_batch(call: Call) -> Match | None:
    """The match where the batch went for time: rows of logits are the steps of one sample, or one for each step."""
    counts = row_counts(call)
    if counts is None or counts[0] == counts[1]:
        return None
    rows, targets = counts
    before = provenance.selected_from(call.input)
    if before is not None and before[:2] == (targets, rows):
        summary = f"{rows} rows of logits are the steps of one sample; the batch has {targets} samples"
        evidence = f"an index into dim 0 of {before} picked a sample, where dim 0 was taken for time"
        help = "the layer's output has the batch first: pick the last step with out[:, -1]"
    elif provenance.embedded(call.input) == (targets, rows):
        summary = f"{rows} rows of logits are one for each step; the batch has {targets} samples"
        evidence = f"ids of shape ({targets}, {rows}) entered the model, and dim 0 was taken for time"
        help = "build the layer with batch_first=True: it takes dim 0 for time"
    else:
        return None
    return Match(LIKELY, summary, (evidence,), help, odds=0.9, input_marks=(0,), target_marks=(0,))


@cause("SCE309", "spatial-size-mismatch", ERROR)
def spatial_size_mismatch(call: Call) -> Match | None:
    """Height and width of the logits differ from those of the mask.

    What happens
        size mismatch (got input: [2, 2, 68, 68] , target: [2, 256, 256].
    Why it is wrong
        Strides, pooling and unpadded convolutions shrink the map; every pixel of the mask needs scores.
    Example
        >>> input = torch.randn(2, 5, 8, 8)
        >>> target = torch.zeros(2, 32, 32, dtype=torch.int64)
    Fix
        Resize the logits to the mask, with F.interpolate(..., mode="bilinear"); or the mask to the logits, with
        mode="nearest" only.

        >>> input = F.interpolate(input, size=target.shape[1:], mode="bilinear", align_corners=False)
    How it is recognised, and when sound calls look alike
        Batch sizes agree, the target has the dimensions of a mask, and only the spatial sizes differ.
    """
    if not call.tensors or not call.rejected:
        return None
    if len(call.shape) == 2:
        return _flattened_maps(call)
    if len(call.shape) not in (4, 5):
        return None
    spatial = len(call.shape) - 2
    sizes = call.target_shape[-spatial:]
    rest = call.target_shape[:-spatial]
    if rest not in ((call.shape[0],), (call.shape[0], 1)) or sizes == call.shape[2:]:
        return None
    swapped = attempt(call, "target = target.transpose(-1, -2)") if sizes == call.shape[2:][::-1] else None
    mode = "bilinear" if spatial == 2 else "trilinear"
    if swapped is not None:
        repaired, help = swapped, "height and width are exchanged: PIL sizes are (width, height)"
    elif sizes == call.shape[1:-1]:
        return None  # the classes are last
    else:
        resize = f'input = F.interpolate(input, size=target.shape[-{spatial}:], mode="{mode}", align_corners=False)'
        found = attempt(call, resize, gives={"input": ((*call.shape[:2], *sizes), call.input.dtype)})
        if found is None:
            return None
        repaired, help = found, 'resize the logits to the mask, or the mask to the logits with mode="nearest"'
    got, wanted = " x ".join(map(str, call.shape[2:])), " x ".join(map(str, sizes))
    return Match(
        CERTAIN,
        f"the logits are {got}, the mask is {wanted}",
        (f"the batch sizes agree: {call.shape[0]}",),
        help,
        fix=repaired.fix,
        odds=0.85,
        input_marks=tuple(range(2, len(call.shape))),
        target_marks=tuple(range(len(call.target_shape) - spatial, len(call.target_shape))),
    )


def _flattened_maps(call: Call) -> Match | None:
    """The match for maps (N, H, W, C) that were flattened to rows, against the pixels of larger or smaller masks."""
    counts, maps = row_counts(call), flattened_from(call)
    if counts is None or maps is None or len(maps) != 4 or counts[1] % maps[0] or counts[1] == maps[0]:
        return None
    height, width = maps[1:3]
    pixels = counts[1] // maps[0]
    return Match(
        LIKELY,
        f"the logits are {height} x {width} per sample, {height * width} pixels; the target has {pixels} per sample",
        (f"the logits were flattened from {maps}", f"{counts[1]} targets are {pixels} for each of {maps[0]} samples"),
        'before flattening, resize the logits to the mask, or the mask to the logits with mode="nearest"',
        odds=0.8,
        input_marks=(0,),
        target_marks=(0,),
    )


@cause("SCE314", "view-instead-of-permute", ERROR)
def view_instead_of_permute(call: Call) -> Match | None:
    """A view put the classes where native wants them without moving them: every row mixes classes and positions.

    What happens
        Nothing is raised, since the shapes fit. The model learns next to nothing.
    Why it is wrong
        view and reshape keep the order of the elements in memory. (N, C, H, W).view(-1, C) cuts the map of one class into
        rows; only a permutation brings the C scores of a pixel together.
    Example
        >>> input = nn.Conv2d(3, 4, 1)(torch.randn(2, 3, 8, 8)).view(-1, 4)
        >>> target = torch.randint(4, (128,))
    Fix
        Move the classes first, then flatten: x.movedim(1, -1).reshape(-1, C); or do not flatten, native takes
        (N, C, H, W).

        >>> input = nn.Conv2d(3, 4, 1)(torch.randn(2, 3, 8, 8)).movedim(1, -1).reshape(-1, 4)
    How it is recognised, and when sound calls look alike
        The autograd graph shows a view right behind a convolution whose channels are the classes, or right behind a linear
        layer whose outputs are, that leaves the classes in another dimension. A permutation in between is sound.
    """
    if not call.tensors or call.rejected or call.same_shape:
        return None
    before = provenance.scrambled_by(call.input)
    if before is None:
        return None
    return Match(
        CERTAIN,
        f"a view turned {before} into {call.shape}: every row mixes classes and positions",
        ("view keeps the order in memory; the classes must be moved",),
        "permute before you flatten: x.movedim(1, -1).reshape(-1, C) for (N, C, ...), x.transpose(1, 2) for (N, T, C)",
        odds=0.95,
        input_marks=tuple(range(len(call.shape))),
    )
