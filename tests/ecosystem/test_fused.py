"""A cross entropy in the place of torch's, as fused kernels put theirs, and torch's own that fuses the last layer."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import safe_ce
from safe_ce import SafeCrossEntropyError
from tests.ecosystem.programs import seeded

TARGET = torch.tensor([0, 1, 2, -100])


class Kernel:
    """Holds the function, as a module's own name for it is given to the guard."""

    @staticmethod
    def fused(
        input,
        target,
        weight=None,
        size_average=None,
        ignore_index=-100,
        reduce=None,
        reduction="mean",
        label_smoothing=0.0,
        lse_square_scale=0.01,
        softcap=None,
        return_z_loss=False,
    ):
        """A loss with the parameters of `liger_cross_entropy`; by default too it adds what native does not."""
        if softcap is not None:
            input = softcap * (input / softcap).tanh()
        kept = target != ignore_index
        normaliser = input.logsumexp(-1)
        z_loss = (lse_square_scale * normaliser[kept] ** 2).mean()
        each = normaliser - input.gather(-1, target.where(kept, 0)[:, None]).squeeze(-1)
        loss = each[kept].mean() + z_loss
        return (loss, z_loss) if return_z_loss else loss


def raw():
    return torch.randn(4, 3, requires_grad=True) * 1


def softmaxed():
    return raw().softmax(1)


def function(logits, target, **options):
    return F.cross_entropy(logits, target, **options)


def module(logits, target):
    return nn.CrossEntropyLoss()(logits, target)


def training(loss):
    def program():
        model = nn.Linear(5, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(12):
            value = loss(model(torch.randn(4, 5)), TARGET)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
        return losses

    return program


@pytest.fixture
def uninstalled(monkeypatch):
    """Afterwards `F.cross_entropy` is native's again, whatever the test has put there."""
    monkeypatch.setattr(F, "cross_entropy", F.cross_entropy)
    yield
    safe_ce.uninstall()


@pytest.fixture
def before(uninstalled):
    F.cross_entropy = Kernel.fused
    safe_ce.install()


@pytest.fixture
def after(uninstalled):
    safe_ce.install()
    F.cross_entropy = Kernel.fused


losses = pytest.mark.parametrize("loss", [function, module])


class TestReplacedBeforeInstalling:
    @losses
    def test_it_is_called_and_trains_untouched(self, uninstalled, guarded, loss):
        native = seeded(training(loss))
        F.cross_entropy = Kernel.fused
        own = seeded(training(loss))
        assert guarded(training(loss)) == own != native

    @losses
    def test_it_is_guarded(self, before, loss):
        with pytest.raises(SafeCrossEntropyError) as caught:
            loss(softmaxed(), TARGET)
        assert caught.value.cause == "softmax-applied"

    def test_what_it_raises_itself_is_explained(self, before):
        with pytest.raises(SafeCrossEntropyError) as caught:
            F.cross_entropy(raw(), TARGET + 5)
        assert caught.value.cause == "label-out-of-range"

    def test_native_is_guarded_beside_it_where_a_module_has_it_and_both_are_put_back(self, uninstalled):
        native = F.cross_entropy
        F.cross_entropy = Kernel.fused
        safe_ce.install()
        with pytest.raises(SafeCrossEntropyError):
            native(softmaxed(), TARGET)
        safe_ce.uninstall()
        assert F.cross_entropy is Kernel.fused
        for loss in (native, F.cross_entropy):
            loss(softmaxed(), TARGET)

    def test_its_own_options_reach_it_and_what_it_returns_comes_back(self, before):
        input = raw()
        got = F.cross_entropy(input, TARGET, softcap=3.0, return_z_loss=True)
        assert got == Kernel.fused(input, TARGET, softcap=3.0, return_z_loss=True)

    def test_also_by_position(self, before):
        input = raw()
        arguments = (input, TARGET, None, None, -100, None, "mean", 0.0, 0.5)
        assert F.cross_entropy(*arguments) == Kernel.fused(*arguments)

    def test_a_call_with_its_own_options_is_guarded(self, before):
        with pytest.raises(SafeCrossEntropyError) as caught:
            F.cross_entropy(softmaxed(), TARGET, softcap=3.0, return_z_loss=True)
        assert caught.value.cause == "softmax-applied"

    @pytest.mark.parametrize("backend", ["eager", "aot_eager"])
    def test_it_is_what_compiled_code_calls(self, before, backend):
        input = raw()
        compiled = torch.compile(function, backend=backend, fullgraph=True)
        assert compiled(input, TARGET) == Kernel.fused(input, TARGET)


class TestReplacedAfterInstalling:
    @losses
    def test_it_is_called_and_trains_untouched(self, after, loss):
        own = seeded(training(loss))
        safe_ce.uninstall()
        assert own == seeded(training(loss))

    def test_it_is_left_in_place(self, after):
        safe_ce.uninstall()
        assert F.cross_entropy is Kernel.fused

    def test_it_is_guarded_once_the_guard_is_installed_anew(self, after):
        F.cross_entropy(softmaxed(), TARGET)
        safe_ce.uninstall()
        safe_ce.install()
        with pytest.raises(SafeCrossEntropyError) as caught:
            F.cross_entropy(softmaxed(), TARGET)
        assert caught.value.cause == "softmax-applied"

    def test_one_that_calls_what_it_found_is_guarded_by_that(self, uninstalled):
        safe_ce.install()
        found = F.cross_entropy

        def wrapped(*arguments, **options):
            return found(*arguments, **options) + 1

        F.cross_entropy = wrapped
        with pytest.raises(SafeCrossEntropyError):
            F.cross_entropy(softmaxed(), TARGET)
        safe_ce.uninstall()
        assert F.cross_entropy is wrapped
        F.cross_entropy(softmaxed(), TARGET)


def printed(program):
    """What a program prints that puts a function of its own in the place of native's."""
    fused = (
        "import safe_ce, torch, torch.nn.functional as F\n"
        "logits, target = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 0])\n"
        "def fused(input, target, *arguments, **options): return scaled(input, target)\n"
        "def scaled(input, target): return 2 * torch._C._nn.cross_entropy_loss(input, target)\n"
    )
    done = subprocess.run([sys.executable, "-c", fused + program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_one_that_was_there_before_the_guard_was_first_used_is_guarded_too():
    program = (
        "F.cross_entropy = fused\n"
        "safe_ce.install()\n"
        "F.cross_entropy(logits, target)\n"
        "try: F.cross_entropy(logits.softmax(1), target)\n"
        "except safe_ce.SafeCrossEntropyError as error: print(error.cause)\n"
    )
    assert printed(program) == "softmax-applied"


def test_one_that_was_there_when_something_was_first_compiled_is_what_compiled_code_calls():
    program = (
        "import safe_ce.contract\n"
        "expected = scaled(logits, target)\n"
        "F.cross_entropy = fused\n"
        "torch.compile(lambda x: x + 1, backend='eager')(logits)\n"
        "safe_ce.install()\n"
        "loss = torch.compile(lambda x, y: F.cross_entropy(x, y), backend='eager')(logits, target)\n"
        "print(torch.equal(loss, expected))\n"
    )
    assert printed(program) == "True"


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="this release of torch has none")
class TestTorchsOwnThatFusesTheLastLayer:
    """By default it multiplies and calls the cross entropy; with options it works in chunks, and has no logits."""

    features = staticmethod(lambda: torch.randn(4, 5, requires_grad=True).relu())
    layer = torch.linspace(-1, 1, 15).view(3, 5)

    @pytest.mark.parametrize("chunked", [False, True])
    def test_it_trains_untouched(self, chunked):
        options = {"options": nn.modules.linear_cross_entropy_options.LinearCrossEntropyOptions()} if chunked else {}

        def program():
            features, layer = self.features(), self.layer.clone().requires_grad_()
            loss = F.linear_cross_entropy(features, layer, TARGET, **options)
            return loss.item(), *(grad.tolist() for grad in torch.autograd.grad(loss, [features, layer]))

        plain = seeded(program)
        with safe_ce.guarded("strict"):
            assert seeded(program) == plain

    def test_its_call_of_the_cross_entropy_is_guarded(self):
        with safe_ce.guarded(), pytest.raises(SafeCrossEntropyError) as caught:
            F.linear_cross_entropy(self.features(), self.layer, TARGET + 5)
        assert caught.value.cause == "label-out-of-range"
