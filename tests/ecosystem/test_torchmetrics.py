"""Metrics of torchmetrics that are fed beside the loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import safe_ce
from safe_ce import SafeCrossEntropyError
from tests.ecosystem.programs import digits, seeded

torchmetrics = pytest.importorskip("torchmetrics")
pytest.importorskip("sklearn")

BATCH, CLASSES = 64, 10


def metrics():
    return torchmetrics.MetricCollection(
        {
            "accuracy": torchmetrics.classification.MulticlassAccuracy(CLASSES),
            "best of three": torchmetrics.classification.MulticlassAccuracy(CLASSES, top_k=3),
            "area": torchmetrics.classification.MulticlassAUROC(CLASSES, thresholds=20),
            "calibration": torchmetrics.classification.MulticlassCalibrationError(CLASSES),
            "confusion": torchmetrics.classification.MulticlassConfusionMatrix(CLASSES),
        }
    )


def training(scores, learned=lambda logits: logits):
    """A program that trains on digits, with metrics of scores, by a loss of what is learned from the logits."""

    def program():
        images, labels = (part[: 10 * BATCH].split(BATCH) for part in digits())
        model = nn.Linear(64, CLASSES)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        measured, losses = metrics(), []
        for batch, target in zip(images, labels, strict=True):
            logits = model(batch)
            measured.update(scores(logits), target)
            loss = F.cross_entropy(learned(logits), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, {name: value.tolist() for name, value in measured.compute().items()}

    return program


SCORES = {
    "the logits": lambda logits: logits,
    "the logits, detached": lambda logits: logits.detach(),
    "their softmax": lambda logits: logits.softmax(-1),
}


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_metrics_beside_a_sound_loss_raise_no_alarm_and_are_the_same(guarded, scores):
    program = training(scores)
    assert guarded(program) == seeded(program)


def test_predicted_ids_for_the_metric_alone_raise_no_alarm():
    accuracy = torchmetrics.classification.MulticlassAccuracy(CLASSES)
    images, labels = digits()
    logits = nn.Linear(64, CLASSES)(images)
    with safe_ce.guarded("strict"):
        F.cross_entropy(logits, labels)
        accuracy.update(logits.argmax(-1), labels)
    assert 0 <= accuracy.compute() <= 1


ACTIVATED = [
    (lambda logits: logits.softmax(-1), "softmax-applied"),
    (lambda logits: logits.argmax(-1), "class-ids-as-logits"),
]


@pytest.mark.parametrize(("learned", "cause"), ACTIVATED)
def test_what_is_for_a_metric_is_found_where_the_loss_gets_it(learned, cause):
    with safe_ce.guarded(), pytest.raises(SafeCrossEntropyError) as caught:
        seeded(training(SCORES["the logits"], learned))
    assert caught.value.cause == cause
