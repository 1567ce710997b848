"""A training loop of accelerate's under the guard."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyWarning
from tests.ecosystem.programs import digits, seeded

accelerate = pytest.importorskip("accelerate")
pytest.importorskip("sklearn")


def training(*end, precision="no", steps=1, shift=0):
    """A program that trains on digits, an optimizer's step for so many batches, and returns the losses."""

    def program():
        # The state is the process's, and would have the precision of the program before.
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision, gradient_accumulation_steps=steps)
        images, labels = digits()
        model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10), *end)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        loader = DataLoader(TensorDataset(images[:640], labels[:640] + shift), 32, shuffle=True)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        losses = []
        for batch, target in loader:
            with accelerator.accumulate(model):
                logits = model(batch)
                assert logits.dtype is torch.float32
                loss = F.cross_entropy(logits, target)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(accelerator.gather_for_metrics(loss.detach()).item())
        return losses

    return program


precisions = pytest.mark.parametrize("precision", ["no", "bf16"])


@precisions
@pytest.mark.parametrize("steps", [1, 4])
def test_a_sound_loop_trains_untouched(guarded, precision, steps):
    program = training(precision=precision, steps=steps)
    assert guarded(program) == seeded(program)


def test_accumulation_and_precision_are_in_force():
    first, *_ = losses = seeded(training())
    assert first == seeded(training(steps=4))[0] != seeded(training(precision="bf16"))[0]
    assert losses != seeded(training(steps=4))


@precisions
def test_a_head_that_ends_in_softmax_is_found_by_its_graph_behind_the_outputs_conversion(precision):
    """With mixed precision the prepared model makes float32 of its outputs, and the graph goes on."""
    with safe_ce.guarded(probe="never"), pytest.raises(SafeCrossEntropyError) as caught:
        seeded(training(nn.Softmax(-1), precision=precision))
    assert caught.value.cause == "softmax-applied"
    assert "the autograd graph shows SoftmaxBackward0" in str(caught.value)
    assert caught.value.findings[0].call == 1


@precisions
@pytest.mark.parametrize(("end", "cause"), [(nn.ReLU(), "relu-applied"), (nn.LogSoftmax(-1), "log-softmax-applied")])
def test_a_doubtful_head_is_warned_about_once_and_trains_on_untouched(precision, end, cause):
    program = training(end, precision=precision, steps=4)
    plain = seeded(program)
    with safe_ce.guarded(), pytest.warns(SafeCrossEntropyWarning) as caught:
        assert seeded(program) == plain
    assert [warning.message.finding.cause for warning in caught] == [cause]


@pytest.mark.parametrize(("shift", "cause"), [(1, "labels-start-at-one"), (7, "label-out-of-range")])
def test_labels_of_other_classes_are_named(shift, cause):
    with safe_ce.guarded(), pytest.raises(SafeCrossEntropyError) as caught:
        seeded(training(shift=shift))
    assert caught.value.cause == cause
