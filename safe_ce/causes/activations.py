"""SCE101 to SCE104: an activation was left between the scores and the loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from safe_ce import contract, probe, provenance
from safe_ce.causes.cause import CERTAIN, ERROR, LIKELY, POSSIBLE, WARNING, Match, cause

if TYPE_CHECKING:
    from safe_ce.call import Call


def _activation(call: Call) -> provenance.Activation | None:
    return provenance.activation(call.input) if isinstance(call.input, Tensor) else None


def _values(call: Call) -> Tensor | None:
    """A sample of at least two rows of finite scores, or None."""
    if not isinstance(call.input, Tensor) or call.input.dtype not in contract.FLOATS or call.classes < 2:
        return None
    rows = call.scores()
    if rows is None or len(rows) < 2:
        return None
    with probe.unobserved():
        return rows if bool(rows.isfinite().all()) else None


def _are_distributions(rows: Tensor, tolerance: float) -> bool:
    with probe.unobserved():
        # Rows of one repeated value say nothing: a head with a constant bias of 1 / C gives them too.
        flat = bool((rows == rows[:, :1]).all())
        within = bool((rows >= 0).all()) and bool((rows <= 1 + tolerance).all())
        return within and not flat and bool(((rows.sum(1) - 1).abs() <= tolerance).all())


@cause("SCE101", "softmax-applied", ERROR, silent=True)
def softmax_applied(call: Call) -> Match | None:
    """Softmax was applied to the logits, and the loss applies it again.

    What happens
        Nothing is raised. The loss starts near log(C) as it should, falls for a while and then stays.
    Why it is wrong
        Cross-entropy takes raw scores and applies log-softmax itself. Probabilities lie between 0 and 1, so even a
        perfect prediction costs log(e + C - 1) - 1: 0.313 for 2 classes, 1.461 for 10, 5.91 for 1000. The gradients
        shrink with it, and training crawls.
    Example
        >>> input = torch.randn(4, 10).softmax(dim=1)
        >>> target = torch.tensor([1, 0, 9, 3])
    Fix
        Return the last layer's raw scores from the model, and apply softmax only where probabilities are read.

        >>> input = torch.randn(4, 10)
    How it is recognised, and when sound calls look alike
        SoftmaxBackward0 in the autograd graph, behind nothing but views, casts, clamps and selections; or, where there
        is no graph, values in [0, 1] of which every row sums to 1 within the dtype's rounding, in two rows or more; within
        0.01, in eight rows or more, it is likely.
        Random scores do neither. An attention softmax inside the model, a softmax that is multiplied or averaged
        with something else, and the logarithm of averaged probabilities are left alone.
    """
    if not isinstance(call.input, Tensor):
        return None
    found = _activation(call)
    rows = _values(call)
    sums = rows is not None and _are_distributions(rows, probe.sum_tolerance(call.input.dtype))
    # Probabilities that were rounded to half precision on their way sum to 1 only so far.
    rounded = not sums and rows is not None and len(rows) >= ROUNDED_ROWS and _are_distributions(rows, probe.ROUNDED)
    by_graph = found is not None and found.name == "softmax"
    if not by_graph and not sums and not rounded:
        return None
    if not by_graph and call.same_shape and _target_is_scores(call):
        return None  # the arguments are swapped: the distribution is the target
    floor = math.log(math.e + call.classes - 1) - 1
    evidence = []
    over = ""
    if by_graph:
        evidence.append("the autograd graph shows SoftmaxBackward0 behind the input")
    if found is not None and found.name == "softmax" and found.dim is not None and found.dim != call.class_dim:
        over = f", and over dim {found.dim} rather than the classes' dim {call.class_dim}"
        evidence.append(f"softmax ran over dim {found.dim}; the classes are in dim {call.class_dim}")
    if sums or rounded:
        evidence.append("every row looked at is non-negative and sums to 1" + (f" within {probe.ROUNDED}" * rounded))
    if call.classes > 1 and not over:
        evidence.append(f"with {call.classes} classes such a loss cannot fall under {floor:.3f}")
    return Match(
        CERTAIN if by_graph or sums else LIKELY,
        f"softmax was applied to the input{over}; cross-entropy applies it again",
        tuple(evidence),
        "pass the raw scores: remove the softmax at the end of the model, and keep it for inference",
        input_marks=(call.class_dim,),
    )


ROUNDED_ROWS = 8
"""Rows that must all look like rounded probabilities."""


def _target_is_scores(call: Call) -> bool:
    rows = call.target_rows(call.class_dim)
    if rows is None:
        return False
    with probe.unobserved():
        return bool((rows < 0).any())


@cause("SCE102", "log-softmax-applied", WARNING, silent=True)
def log_softmax_applied(call: Call) -> Match | None:
    """log_softmax was applied to the logits; the loss applies it again, to no effect.

    What happens
        Nothing is raised, and the loss is right: log_softmax of log-probabilities gives them back.
    Why it is wrong
        It is work done twice, and it usually means that nll_loss was meant. The next reader may "mend" the wrong half.
    Example
        >>> input = torch.randn(4, 10, requires_grad=True).log_softmax(dim=1)
        >>> target = torch.tensor([1, 0, 9, 3])
    Fix
        Pass the raw scores to the cross-entropy, or keep log_softmax and use nn.NLLLoss.

        >>> input = torch.randn(4, 10, requires_grad=True)
    How it is recognised, and when sound calls look alike
        LogSoftmaxBackward0 (or the logarithm of a softmax) in the autograd graph behind views and casts: likely. By
        values alone, when the logsumexp of every row is 0: possible, and never raised, because the logarithm of
        averaged probabilities is a sound input.
    """
    found = _activation(call)
    help = "pass the raw scores, or keep log_softmax and use nn.NLLLoss"
    if found is not None and found.name == "log_softmax":
        return Match(
            LIKELY,
            "log_softmax was applied to the input; cross-entropy applies it again",
            (
                "the autograd graph shows log_softmax behind the input",
                "the loss itself is not changed by it",
            ),
            help,
        )
    rows = _values(call)
    if rows is None:
        return None
    with probe.unobserved():
        tolerance = max(1e-4, probe.sum_tolerance(call.input.dtype))
        if not bool((rows <= 1e-6).all()) or not bool((rows.logsumexp(1).abs() <= tolerance).all()):
            return None
    return Match(
        POSSIBLE,
        "the input holds log-probabilities already",
        ("the logsumexp of every row looked at is 0",),
        help,
    )


@cause("SCE103", "sigmoid-applied", WARNING, silent=True)
def sigmoid_applied(call: Call) -> Match | None:
    """A sigmoid was applied to the logits, which squashes every score into [0, 1] before the softmax.

    What happens
        Nothing is raised. The loss falls a little and stays far from 0.
    Why it is wrong
        Scores between 0 and 1 differ by at most 1, so no class can get more than e times the probability of another.
    Example
        >>> input = torch.randn(4, 10, requires_grad=True).sigmoid()
        >>> target = torch.tensor([1, 0, 9, 3])
    Fix
        Remove the sigmoid. If each class is a yes-or-no question of its own, keep the raw scores and use
        nn.BCEWithLogitsLoss.

        >>> input = torch.randn(4, 10, requires_grad=True)
    How it is recognised, and when sound calls look alike
        SigmoidBackward0 in the autograd graph behind views, casts, clamps and selections: likely. By values alone, when
        everything lies in (0, 1): possible, and never raised, because cosine similarities of non-negative embeddings
        look like that. A sigmoid gate that is multiplied into something, and a scaled sigmoid, are left alone.
    """
    found = _activation(call)
    help = "remove the sigmoid; for yes-or-no questions per class keep the raw scores and use nn.BCEWithLogitsLoss"
    if found is not None and found.name == "sigmoid":
        return Match(
            LIKELY,
            "a sigmoid was applied to the input before the softmax of cross-entropy",
            (
                "the autograd graph shows SigmoidBackward0 behind the input",
                "scores in [0, 1] can never tell two classes apart by more than a factor of e",
            ),
            help,
            input_marks=(call.class_dim,),
        )
    rows = _values(call)
    if rows is None or found is not None:
        return None
    with probe.unobserved():
        squashed = bool(((rows > 0) & (rows < 1)).all()) and bool((rows.std() > 0.05).all())
    if not squashed or _are_distributions(rows, 1e-2):
        return None
    return Match(
        POSSIBLE,
        "every score lies between 0 and 1, as after a sigmoid",
        ("all scores looked at lie in (0, 1)",),
        help,
        odds=0.2,
    )


@cause("SCE104", "relu-applied", WARNING, silent=True)
def relu_applied(call: Call) -> Match | None:
    """A ReLU was left on the last layer, and every negative score became 0.

    What happens
        Nothing is raised. Classes whose score was negative get no gradient; some never recover.
    Why it is wrong
        A score says more the further below 0 it is; the ReLU throws that half away.
    Example
        >>> input = torch.randn(4, 10, requires_grad=True).relu()
        >>> target = torch.tensor([1, 0, 9, 3])
    Fix
        End the model with its last linear layer, with no activation behind it.

        >>> input = torch.randn(4, 10, requires_grad=True)
    How it is recognised, and when sound calls look alike
        ReluBackward0 in the autograd graph behind views and casts: likely. A ReLU before a global pooling, as in
        SqueezeNet, is sound and left alone. By values alone, when nothing is negative and many scores are exactly 0:
        possible, and never raised. A zero-initialised head, all of whose scores are 0, is sound.
    """
    found = _activation(call)
    help = "end the model with its last linear layer, with no activation behind it"
    if found is not None and found.name == "relu":
        return Match(
            LIKELY,
            "a ReLU was applied to the input: every negative score became 0",
            ("the autograd graph shows ReluBackward0 behind the input",),
            help,
            input_marks=(call.class_dim,),
        )
    rows = _values(call)
    if rows is None or found is not None:
        return None
    with probe.unobserved():
        zeros = (rows == 0).double().mean().item()
        negative = bool((rows < 0).any())
        binary = bool(torch.logical_or(rows == 0, rows == 1).all())
    if negative or binary or not 0.2 <= zeros < 1:
        return None
    return Match(
        POSSIBLE,
        "no score is negative and many are exactly 0, as after a ReLU",
        (f"{zeros:.0%} of the scores looked at are exactly 0, and none is negative",),
        help,
        odds=0.2,
    )
