"""Apple's cut cross entropy on a CPU: the last layer and torch's own function, compiled as one."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn

import safe_ce
from safe_ce import SafeCrossEntropyError
from tests.ecosystem.programs import seeded

cut_cross_entropy = pytest.importorskip("cut_cross_entropy")
if shutil.which("g++") is None:
    pytest.skip("there is no C++ compiler", allow_module_level=True)


def training(shift=0, end=nn.Identity):
    def program():
        layers, head = nn.Sequential(nn.Linear(6, 16), end()), torch.randn(10, 16, requires_grad=True)
        optimizer = torch.optim.SGD([*layers.parameters(), head], lr=0.1)
        losses = []
        for _ in range(4):
            features, labels = layers(torch.randn(8, 6)), torch.randint(10, (8,)) + shift
            loss = cut_cross_entropy.linear_cross_entropy(features, head, labels, impl="torch_compile")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return program


def test_it_trains_untouched(guarded):
    assert guarded(training()) == seeded(training())


@pytest.mark.parametrize("guard", [nullcontext, partial(safe_ce.guarded, "strict")])
def test_another_ignore_index_compiles_nothing_anew(guard):
    features, head, labels = torch.randn(8, 16), torch.randn(10, 16), torch.randint(10, (8,))
    with guard():
        cut_cross_entropy.linear_cross_entropy(features, head, labels, impl="torch_compile")
        with torch._dynamo.config.patch(error_on_recompile=True):
            cut_cross_entropy.linear_cross_entropy(features, head, labels, impl="torch_compile", ignore_index=-1)


def test_features_that_end_in_relu_are_no_logits():
    with safe_ce.guarded("strict"):
        assert len(seeded(training(end=nn.ReLU))) == 4


def test_labels_of_other_classes_are_named():
    with safe_ce.guarded(), pytest.raises(SafeCrossEntropyError) as caught:
        seeded(training(shift=5))
    assert caught.value.cause == "label-out-of-range"
