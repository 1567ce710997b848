"""A LightningModule under the guard."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyWarning
from tests.ecosystem.programs import digits, seeded

lightning = pytest.importorskip("lightning")
pytest.importorskip("sklearn")


class Classifier(lightning.LightningModule):
    """Reads digits, by a loss that is a module or a function."""

    def __init__(self, end, loss):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10), end())
        self.loss = loss
        self.losses = []

    def training_step(self, batch, index):
        return self.step(batch)

    def validation_step(self, batch, index):
        self.log("validated", self.step(batch))

    def step(self, batch):
        images, labels = batch
        loss = self.loss(self.layers(images), labels)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def function(logits, labels):
    return F.cross_entropy(logits, labels, label_smoothing=0.1)


def training(end=nn.Identity, loss=nn.CrossEntropyLoss, shift=0, **options):
    """A program that trains on digits, with labels that are shifted, and returns the losses."""

    def program():
        images, labels = digits()
        data = TensorDataset(images[:640], labels[:640] + shift)
        model = Classifier(end, loss if loss is function else loss())
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=2,
            **options,
        )
        trainer.fit(model, DataLoader(data, 64, shuffle=True), DataLoader(data, 160))
        return model.losses

    return program


SOUND = {
    "a module": {},
    "the function": {"loss": function},
    "gradients accumulated": {"accumulate_grad_batches": 4},
    "some of it in bfloat16": {"precision": "bf16-mixed"},
    "all of it in bfloat16": {"precision": "bf16-true"},
    "validation without inference mode": {"inference_mode": False},
    "no sanity check": {"num_sanity_val_steps": 0},
}


@pytest.mark.parametrize("options", SOUND.values(), ids=SOUND)
def test_a_sound_module_trains_untouched(guarded, options):
    program = training(**options)
    assert guarded(program) == seeded(program)


SOFTMAX = partial(nn.Softmax, -1)


class SoftmaxInEvaluation(nn.Module):
    def forward(self, input):
        return input if self.training else input.softmax(-1)


def stopped(program):
    """What a program is stopped by in default mode."""
    with safe_ce.guarded(), pytest.raises(SafeCrossEntropyError) as caught:
        seeded(program)
    return caught.value


precisions = pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])


@precisions
@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, function])
def test_a_head_that_ends_in_softmax_is_found_in_training_by_its_graph(loss, precision):
    error = stopped(training(SOFTMAX, loss, precision=precision, num_sanity_val_steps=0))
    assert error.cause == "softmax-applied"
    assert "the autograd graph shows SoftmaxBackward0" in str(error)


@precisions
def test_and_before_that_by_its_values_in_the_sanity_check(precision):
    error = stopped(training(SOFTMAX, precision=precision))
    assert error.cause == "softmax-applied"
    assert "autograd" not in str(error)


def test_and_in_a_validation_that_alone_has_it():
    error = stopped(training(SoftmaxInEvaluation, num_sanity_val_steps=0))
    assert error.cause == "softmax-applied"
    assert error.findings[0].call == 11  # 10 steps of training before it


def test_labels_from_1_are_found_in_the_sanity_check():
    assert stopped(training(shift=1)).cause == "labels-start-at-one"


def test_labels_far_beyond_the_head_are_found_in_the_sanity_check():
    assert stopped(training(shift=5)).cause == "label-out-of-range"


@pytest.mark.parametrize(("end", "cause"), [(nn.ReLU, "relu-applied"), (nn.Sigmoid, "sigmoid-applied")])
def test_a_doubtful_head_is_warned_about_once_and_trains_on_untouched(end, cause):
    program = training(end)
    plain = seeded(program)
    with safe_ce.guarded(), pytest.warns(SafeCrossEntropyWarning) as caught:
        assert seeded(program) == plain
    causes = [warning.message.finding.cause for warning in caught if warning.category is SafeCrossEntropyWarning]
    assert causes == [cause]


def test_the_warning_points_at_the_line_of_the_training_step():
    with safe_ce.guarded(), pytest.warns(SafeCrossEntropyWarning) as caught:
        seeded(training(nn.ReLU))
    [warning] = [warning for warning in caught if warning.category is SafeCrossEntropyWarning]
    assert warning.filename == __file__


def test_on_finding_hears_of_every_step():
    seen = []
    with safe_ce.guarded("warn", on_finding=seen.append), pytest.warns(SafeCrossEntropyWarning):
        seeded(training(SOFTMAX, num_sanity_val_steps=0, limit_val_batches=0))
    assert [finding.cause for finding in seen] == 20 * ["softmax-applied"]
