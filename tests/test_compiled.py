"""Under torch.compile: no break, no recompilation more than native's, and the findings of eager mode."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss, SafeCrossEntropyWarning, compiled

pytestmark = [
    pytest.mark.skipif(not compiled._TELLS_EXPORTS, reason="this torch does not tell an export from a compilation"),
    # The compiler's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]

TARGET = torch.tensor([0, 1, 2, 0])
backends = pytest.mark.parametrize("backend", ["eager", "aot_eager"])


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def raw():
    return torch.randn(4, 3, requires_grad=True)


class Step(nn.Module):
    """A model and its loss, compiled as one."""

    def __init__(self, criterion):
        super().__init__()
        self.layer, self.criterion = nn.Linear(5, 3), criterion

    def forward(self, input, target):
        return self.criterion(self.layer(input), target)


def train(kind, backend, dynamic, **options):
    """Losses and gradient of a few steps with batches of several sizes, and how often they were compiled."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    counter = CompileCounterWithBackend(backend)
    model = Step(kind(**options))
    step = torch.compile(model, backend=counter, fullgraph=True, dynamic=dynamic)
    losses = []
    for size in (4, 4, 7, 9, 4):
        loss = step(torch.randn(size, 5), torch.randint(3, (size,)))
        loss.sum().backward()
        losses.append(loss.detach())
    return counter.frame_count, losses, model.layer.weight.grad


@pytest.mark.parametrize("dynamic", [None, True, False])
@pytest.mark.parametrize(
    "options", [{}, {"weight": torch.ones(3), "label_smoothing": 0.1}, {"reduction": "none"}], ids=str
)
@backends
def test_a_sound_program_is_compiled_as_often_and_trains_bit_for_bit(backend, dynamic, options):
    ours, native = (train(kind, backend, dynamic, **options) for kind in (SafeCrossEntropyLoss, nn.CrossEntropyLoss))
    assert ours[0] == native[0]
    assert all(torch.equal(a, b) for a, b in zip(ours[1], native[1], strict=True))
    assert torch.equal(ours[2], native[2])


def test_inductor():
    ours, native = (train(kind, "inductor", None) for kind in (SafeCrossEntropyLoss, nn.CrossEntropyLoss))
    assert ours[0] == native[0]
    torch.testing.assert_close(ours[1], native[1])
    criterion = torch.compile(SafeCrossEntropyLoss(), fullgraph=True)
    with pytest.raises(SafeCrossEntropyError, match="softmax was applied"):
        criterion(raw().softmax(1), TARGET)
    with pytest.raises(SafeCrossEntropyError, match="label 3 is out of range"):
        criterion(raw(), torch.tensor([0, 1, 2, 3]))


def test_sizes_that_may_differ_are_not_compared():
    """Native never asks whether the classes are as many as the positions, and so no graph may depend on it."""
    step = torch.compile(SafeCrossEntropyLoss(), backend="eager", fullgraph=True)
    for length in (7, 3, 5):
        input, target = torch.randn(4, 3, length), torch.zeros(4, length).long()
        torch._dynamo.mark_dynamic(input, 2)
        torch._dynamo.mark_dynamic(target, 1)
        with torch._dynamo.config.patch(error_on_recompile=length != 7):
            step(input, target)


def test_another_loss_of_the_same_options_needs_no_other_graph():
    counter = CompileCounterWithBackend("eager")

    def step(criterion, input):
        return criterion(input, TARGET)

    step = torch.compile(step, backend=counter, fullgraph=True)
    for _ in range(3):
        step(SafeCrossEntropyLoss(), raw())
    assert counter.frame_count == 1


@pytest.mark.parametrize("fullgraph", [True, False])
@pytest.mark.parametrize("mode", ["strict", "default", "warn"])
@backends
def test_a_broken_shape_gives_the_report_while_tracing(backend, mode, fullgraph):
    criterion = torch.compile(SafeCrossEntropyLoss(mode=mode), backend=backend, fullgraph=fullgraph)
    with pytest.raises(RuntimeError) as caught:
        criterion(raw(), TARGET[:, None])
    assert "[SCE204]" in str(caught.value)
    assert "target = target.squeeze(1)" in str(caught.value)


SILENT = {
    "softmax-applied": (lambda: raw().softmax(1), TARGET),
    "logits-not-finite": (lambda: raw() / 0, TARGET),
    "all-targets-ignored": (raw, TARGET * 0 - 100),
    "target-not-normalized": (raw, torch.full((4, 3), 0.5)),
}


class TestValuesAreLookedAt:
    @pytest.mark.parametrize("cause", SILENT)
    @backends
    def test_and_warned_about_in_warn_mode(self, backend, cause):
        input, target = SILENT[cause]
        criterion = torch.compile(SafeCrossEntropyLoss(mode="warn"), backend=backend, fullgraph=True)
        values = input()
        with pytest.warns(SafeCrossEntropyWarning) as caught:
            loss = criterion(values, target)
        ours = [warning.message for warning in caught if warning.category is SafeCrossEntropyWarning]
        assert cause in {message.finding.cause for message in ours}
        torch.testing.assert_close(loss, F.cross_entropy(values, target), equal_nan=True)

    @pytest.mark.parametrize("cause", SILENT)
    @backends
    def test_and_raised_in_strict_mode(self, backend, cause):
        input, target = SILENT[cause]
        criterion = torch.compile(SafeCrossEntropyLoss(mode="strict"), backend=backend, fullgraph=True)
        with pytest.raises(SafeCrossEntropyError) as caught:
            criterion(input(), target)
        assert caught.value.cause == cause

    @backends
    def test_and_a_bad_label_found_in_every_call(self, backend):
        criterion = torch.compile(SafeCrossEntropyLoss(), backend=backend, fullgraph=True)
        for _ in range(15):
            criterion(raw(), TARGET)
        with pytest.raises(SafeCrossEntropyError, match="label 3 is out of range"):
            criterion(raw(), torch.tensor([0, 1, 2, 3]))

    def test_and_a_bad_label_warned_about_where_nothing_is_raised(self):
        criterion = torch.compile(SafeCrossEntropyLoss(mode="warn"), backend="aot_eager", fullgraph=True)
        with pytest.warns(SafeCrossEntropyWarning, match="SCE210"), pytest.raises(IndexError):
            criterion(raw(), torch.tensor([0, 1, 2, 3]))

    def test_in_the_mode_in_force_at_run_time(self):
        criterion = torch.compile(SafeCrossEntropyLoss(), backend="aot_eager", fullgraph=True)
        with safe_ce.mode("warn"), pytest.warns(SafeCrossEntropyWarning):
            criterion(raw().softmax(1), TARGET)
        with safe_ce.mode("off"):
            criterion(raw().softmax(1), TARGET)
        with pytest.raises(SafeCrossEntropyError):
            criterion(raw().softmax(1), TARGET)

    def test_and_told_to_the_callback_of_the_loss(self):
        seen = []
        loss = SafeCrossEntropyLoss(mode="warn", on_finding=seen.append)
        with pytest.warns(SafeCrossEntropyWarning):
            torch.compile(loss, backend="aot_eager", fullgraph=True)(raw().softmax(1), TARGET)
        assert [finding.cause for finding in seen] == ["softmax-applied"]

    def test_but_for_causes_that_are_ignored(self):
        loss = SafeCrossEntropyLoss(ignore=["softmax-applied"])
        torch.compile(loss, backend="aot_eager", fullgraph=True)(raw().softmax(1), TARGET)

    def test_by_the_function_too(self):
        step = torch.compile(safe_ce.cross_entropy, backend="aot_eager", fullgraph=True)
        with pytest.raises(SafeCrossEntropyError):
            step(raw().softmax(1), TARGET)

    def test_of_a_loss_that_the_graph_builds(self):
        def step(input, target):
            return SafeCrossEntropyLoss(label_smoothing=0.1)(input, target)

        with pytest.raises(SafeCrossEntropyError):
            torch.compile(step, backend="aot_eager", fullgraph=True)(raw().softmax(1), TARGET)


class TestNothingOfTheGuardIsInTheGraph:
    def graphs(self, function, *arguments):
        seen = []

        def backend(graph, inputs):
            seen.append(graph.code)
            return graph

        torch.compile(function, backend=backend, fullgraph=True)(*arguments)
        return seen

    def test_in_mode_off(self):
        assert "safe_ce.look" in self.graphs(SafeCrossEntropyLoss(), raw(), TARGET)[0]
        torch._dynamo.reset()
        assert "safe_ce.look" not in self.graphs(SafeCrossEntropyLoss(mode="off"), raw(), TARGET)[0]
        torch._dynamo.reset()
        safe_ce.set_mode("off")
        assert "safe_ce.look" not in self.graphs(SafeCrossEntropyLoss(), raw(), TARGET)[0]
        safe_ce.set_mode(None)

    @pytest.mark.filterwarnings("ignore")
    def test_in_the_body_of_a_condition_or_a_loop(self):
        criterion = SafeCrossEntropyLoss()

        def either(input):
            return torch.cond(input.sum() > 0, lambda a: criterion(a, TARGET), lambda a: a.sum(), (input,))

        input = raw().detach()
        expected = F.cross_entropy(input, TARGET) if input.sum() > 0 else input.sum()
        torch.testing.assert_close(torch.compile(either, backend="eager", fullgraph=True)(input), expected)

    @pytest.mark.parametrize("strict", [True, False])
    def test_that_is_exported(self, strict):
        exported = torch.export.export(SafeCrossEntropyLoss(), (raw().detach(), TARGET), strict=strict)
        assert "safe_ce" not in exported.graph_module.code


@backends
def test_transforms_inside_compiled_code(backend):
    criterion = SafeCrossEntropyLoss()
    logits = raw().detach()

    def loss(input, target):
        return criterion(input, target)

    each, slope = torch.func.vmap(loss), torch.func.grad(loss)
    batched = torch.compile(each, backend=backend, fullgraph=True)(logits[None], TARGET[None])
    torch.testing.assert_close(batched[0], F.cross_entropy(logits, TARGET))
    sloped = torch.compile(slope, backend=backend, fullgraph=True)(logits, TARGET)
    torch.testing.assert_close(sloped, torch.func.grad(lambda a: F.cross_entropy(a, TARGET))(logits))


def test_memory_of_compiled_calls_is_not_that_of_eager_ones():
    criterion = SafeCrossEntropyLoss()
    step = torch.compile(criterion, backend="eager", fullgraph=True)
    step(raw(), TARGET)
    assert criterion._memory.schedule.calls == 0


def test_another_ignore_index_compiles_nothing_anew():
    def step(input, target, ignored):
        return F.cross_entropy(input, target, ignore_index=ignored)

    with safe_ce.guarded():
        compiled_step = torch.compile(step, backend="aot_eager", fullgraph=True, dynamic=True)
        compiled_step(raw(), TARGET, -100)
        with torch._dynamo.config.patch(error_on_recompile=True):
            assert torch.equal(compiled_step(torch.ones(4, 3, requires_grad=True), TARGET, 1), torch.tensor(3.0).log())
