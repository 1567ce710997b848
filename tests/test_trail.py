"""The trail: what is recorded, that nothing else changes, and where it steps aside."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

import safe_ce
from safe_ce import recording
from safe_ce.operations import COMPILED

ROOT = Path(safe_ce.__file__).parents[1]
LABELS = torch.tensor([0, 1])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))


def blamed(input, target=LABELS):
    return safe_ce.diagnose(input, target)[0].blame


def operation_of(tensor):
    return recording.active().operation_of(tensor)


class TestATrail:
    def test_knows_what_made_a_tensor_and_from_what(self):
        with safe_ce.trail():
            x = torch.randn(2, 6)
            y = x.view(3, 4).clamp(min=0)
            made = operation_of(y)
        assert (made.name, tuple(made.shape), made.dtype) == ("clamp", (3, 4), torch.float32)
        assert [source.name for source in made.sources] == ["view"]
        assert made.sources[0].sources == (operation_in(x, made),)

    def test_is_off_outside_and_leaves_torch_as_it_was(self):
        before = nn.Module.__init__, nn.TransformerEncoder.forward
        assert recording.active() is None
        with safe_ce.trail():
            assert recording.active() is not None
        assert recording.active() is None
        assert (nn.Module.__init__, nn.TransformerEncoder.forward) == before
        assert torch._C._len_torch_function_stack() == 0

    def test_ends_with_an_exception(self):
        with pytest.raises(ZeroDivisionError), safe_ce.trail():
            raise ZeroDivisionError
        assert recording.active() is None

    def test_inside_another_one_goes_on_with_that(self):
        with safe_ce.trail():
            x = torch.randn(2, 3).softmax(1)
            with safe_ce.trail():
                assert blamed(x).operation == "softmax"
            assert blamed(x).operation == "softmax"

    def test_is_a_decorator(self):
        @safe_ce.trail()
        def step():
            return blamed(torch.randn(2, 3).softmax(1))

        assert step().operation == "softmax"
        assert recording.active() is None

    def test_is_of_its_thread(self):
        seen = []
        with safe_ce.trail():
            thread = threading.Thread(
                target=lambda: seen.append((recording.active(), blamed(torch.randn(2, 3).softmax(1))))
            )
            thread.start()
            thread.join()
        assert seen == [(None, None)]

    def test_that_is_left_in_another_order_than_other_modes_still_records(self):
        with safe_ce.trail(), torch.device("cpu"):
            assert blamed(torch.randn(2, 3).softmax(1)).operation == "softmax"


def operation_in(tensor, made):
    """What made a tensor, by the records that lead to another one."""
    return next(source for source in made.sources[0].sources if source.key == id(tensor))


class TestWhatIsKept:
    def test_is_no_tensor(self):
        with safe_ce.trail():
            x = torch.randn(2, 3)
            known = weakref.ref(x)
            y = x * 2
            del x
            gc.collect()
            assert known() is None
            assert operation_of(y).sources[0].name == "randn"

    def test_is_no_module(self, net):
        known = weakref.ref(net)
        with safe_ce.trail():
            y = net(torch.randn(2, 4))
            del net
            gc.collect()
        assert known() is not None  # pytest's own fixture
        assert y.shape == (2, 3)

    def test_is_bounded_also_along_a_state_that_is_carried_over(self):
        with safe_ce.trail():
            recorder = recording.active()
            state = torch.zeros(3)
            for _ in range(3 * recording.LATEST):
                state = torch.tanh(state + 1).detach()
            gc.collect()
            assert len(recorder) <= recording.LATEST
            records = [record for record in gc.get_objects() if type(record) is recording.Operation]
            assert len(records) < 2 * recording.LATEST
            assert operation_of(state).name == "detach"

    def test_of_a_tensor_that_lives_long_is_how_it_was_made(self):
        with safe_ce.trail():
            recorder = recording.active()
            labels = torch.arange(1, 4)
            for _ in range(2 * recording.LATEST):
                torch.zeros(1)
            assert blamed(torch.randn(3, 3), labels).operation == "arange"
            held = len(recorder)
            del labels
            assert len(recorder) == held - 1

    def test_is_forgotten_with_the_id_of_a_tensor_that_died(self):
        with safe_ce.trail():
            x = torch.randn(2, 3)
            made, key = operation_of(x), id(x)
            del x
            others = [torch.empty(2, 3) for _ in range(64)]
            again = [other for other in others if id(other) == key]
            assert all(operation_of(other) is not made for other in again)

    def test_is_not_an_optimizer_s_arithmetic(self, net):
        optimizer = torch.optim.Adam(net.parameters(), foreach=False)
        net(torch.randn(2, 4)).sum().backward()
        with safe_ce.trail():
            optimizer.step()
            assert len(recording.active()) == 0

    def test_is_what_was_done_in_place(self):
        with safe_ce.trail():
            y = torch.tensor([1, 2, 0])
            y[0] = 9
            assert operation_of(y).name == "__setitem__"
            y += 1
            assert [operation_of(y).name, operation_of(y).sources[0].name] == ["add_", "__setitem__"]

    def test_is_nothing_of_what_changed_nothing(self):
        with safe_ce.trail():
            x = torch.randn(2, 3)
            made = operation_of(x)
            assert operation_of(x.float().contiguous().to("cpu").requires_grad_()) is made


def trained(*, trail, steps=4):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
    model = nn.Sequential(nn.Embedding(9, 16), nn.TransformerEncoder(layer, 1), nn.Linear(16, 9))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    criterion = safe_ce.SafeCrossEntropyLoss()

    def run():
        losses = []
        for _ in range(steps):
            ids = torch.randint(9, (4, 6))
            loss = criterion(model(ids).transpose(1, 2), ids)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():  # torch's fused path, which it does not take where functions are overridden
            padding = torch.zeros(4, 6, dtype=torch.bool)
            return [*losses, model(ids), model[1](model[0](ids), src_key_padding_mask=padding)]

    if not trail:
        return run()
    with safe_ce.trail():
        return run()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_results_are_the_same_to_the_bit():
    alone, recorded = trained(trail=False), trained(trail=True)
    assert recorded[:-2] == alone[:-2]
    assert all(torch.equal(one, other) for one, other in zip(alone[-2:], recorded[-2:], strict=True))


def test_a_guarded_call_finds_what_it_finds_without():
    criterion = safe_ce.SafeCrossEntropyLoss()
    with safe_ce.trail(), pytest.warns(safe_ce.SafeCrossEntropyWarning, match="all-targets-ignored"):
        for _ in range(8):
            criterion(torch.randn(2, 3, requires_grad=True), LABELS)
        for _ in range(8):
            loss = criterion(torch.randn(2, 3, requires_grad=True), torch.full((2,), -100))
    assert loss.isnan()


class TestWorksWith:
    @pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's own, in older releases
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_activation_checkpointing(self, net, reentrant):
        with safe_ce.trail():
            y = checkpoint(net, torch.randn(2, 4, requires_grad=True), use_reentrant=reentrant)
            assert blamed(y).module == "1 (Softmax)"
            y.sum().backward()

    def test_autocast(self, net):
        with safe_ce.trail(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert blamed(net(torch.randn(2, 4))).operation == "softmax"

    def test_no_grad(self, net):
        with safe_ce.trail(), torch.no_grad():
            assert blamed(net(torch.randn(2, 4))).operation == "softmax"

    def test_graphs_that_fx_made(self, net):
        with safe_ce.trail():
            assert blamed(torch.fx.symbolic_trace(net)(torch.randn(2, 4))).operation == "softmax"

    def test_parameters_that_have_no_shape_yet(self):
        with safe_ce.trail():
            assert blamed(nn.LazyLinear(3)(torch.randn(2, 4)).softmax(1)).operation == "softmax"

    def test_a_view_whose_base_was_changed(self):
        with safe_ce.trail():
            with torch.no_grad():
                base = torch.zeros(2, 3)
                view = base.view(3, 2)
            base += torch.ones(2, 3, requires_grad=True)
            assert view.detach().shape == (3, 2)  # its grad_fn cannot be read


class TestStepsAside:
    @pytest.mark.parametrize("backend", ["eager", "aot_eager"])
    def test_for_compiled_code_which_is_one_operation(self, net, backend):
        compiled = torch.compile(net, backend=backend, fullgraph=True)
        with safe_ce.trail():
            blame = blamed(compiled(torch.randn(2, 4)))
        assert blame.operation == COMPILED
        assert blame.source == "blame = blamed(compiled(torch.randn(2, 4)))"

    def test_for_compiled_code_of_which_nothing_is_seen(self):
        x = torch.compile(lambda x: (x + 1).softmax(1), backend="aot_eager")(torch.randn(2, 3, requires_grad=True))
        with safe_ce.trail():
            finding = safe_ce.diagnose(x, LABELS)[0]
        assert finding.blame is None
        assert "a compiled region made the input: a trail does not see into it" in finding.evidence

    def test_for_a_compiled_step_with_the_loss_in_it(self, net):
        criterion = safe_ce.SafeCrossEntropyLoss()
        step = torch.compile(lambda x: criterion(net[0](x), LABELS), backend="aot_eager", fullgraph=True)
        x = torch.randn(2, 4)
        alone = step(x)
        with safe_ce.trail():
            assert torch.equal(step(x), alone)

    def test_for_a_tracer_that_is_imported_inside_one_and_used_after_it(self):
        program = """
import torch, safe_ce
layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
step = torch.compile(layer, backend="aot_eager", fullgraph=True)
with torch.no_grad():
    with safe_ce.trail():
        step(torch.ones(2, 3, 8))
    torch._dynamo.reset()
    step(torch.ones(2, 3, 8))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr

    def test_for_functorch(self, net):
        parameters = dict(net.named_parameters())

        def loss(parameters, x):
            return F.cross_entropy(torch.func.functional_call(net, parameters, (x,)), LABELS)

        x = torch.randn(5, 2, 4)
        alone = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
        with safe_ce.trail():
            recorded = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
        assert all(torch.equal(alone[name], recorded[name]) for name in alone)

    @pytest.mark.parametrize("strict", [True, False])
    def test_for_export(self, net, strict):
        alone = torch.export.export(net, (torch.randn(2, 4),), strict=strict)
        with safe_ce.trail():
            recorded = torch.export.export(net, (torch.randn(2, 4),), strict=strict)
        assert recorded.graph_module.code == alone.graph_module.code

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
    def test_for_tracing(self, net):
        with safe_ce.trail():
            traced = torch.jit.trace(net, torch.randn(2, 4))
            assert traced(torch.randn(2, 4)).shape == (2, 3)

    def test_for_nested_tensors(self):
        with safe_ce.trail():
            assert torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged).clone().is_nested

    def test_for_tensors_with_handlers_of_their_own(self):
        class Counting(torch.Tensor):
            calls = 0

            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                cls.calls += 1
                return super().__torch_function__(func, types, args, kwargs or {})

        x = torch.randn(2, 3).as_subclass(Counting)
        x.softmax(1)
        alone, Counting.calls = Counting.calls, 0
        with safe_ce.trail():
            x.softmax(1)
        assert Counting.calls == alone

    def test_for_the_modes_of_others(self):
        class Counting(TorchFunctionMode):
            names = ()

            def __torch_function__(self, func, types, args=(), kwargs=None):
                Counting.names += (func.__name__,)
                return func(*args, **(kwargs or {}))

        with safe_ce.trail(), Counting():
            torch.randn(2, 3).softmax(1)
        assert Counting.names == ("randn", "softmax")


class TestInstalledPackages:
    """What an installed package does is laid at the line of the program that called it, unless the caller says otherwise."""

    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        folder = tmp_path / "site-packages" / "heads"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("def probabilities(x):\n    return x.softmax(1)\n")
        monkeypatch.syspath_prepend(folder.parent)
        import heads

        yield heads
        del sys.modules["heads"]

    def test_are_passed_over(self, package):
        with safe_ce.trail():
            x = package.probabilities(torch.randn(2, 3))
            assert blamed(x).source == "x = package.probabilities(torch.randn(2, 3))"

    def test_are_the_program_s_own_where_the_caller_says_so(self, package):
        with safe_ce.trail(installed=True):
            x = package.probabilities(torch.randn(2, 3))
            assert blamed(x).source == "return x.softmax(1)"


class TestAReport:
    def test_says_how_to_get_one_where_a_call_failed_without(self):
        with pytest.raises(safe_ce.SafeCrossEntropyError, match=r"trace: inside `with safe_ce.trail\(\):`"):
            safe_ce.cross_entropy(torch.randn(4, 3), LABELS)

    def test_says_nothing_of_it_inside_one(self):
        with safe_ce.trail(), pytest.raises(safe_ce.SafeCrossEntropyError) as caught:
            safe_ce.cross_entropy(torch.randn(4, 3), LABELS)
        assert "trace:" not in str(caught.value)

    def test_says_nothing_of_it_where_a_trail_could_not_tell(self):
        with pytest.raises(safe_ce.SafeCrossEntropyError) as caught:
            safe_ce.cross_entropy(torch.randn(2, 3), [0, 1])
        assert caught.value.cause == "target-not-tensor"
        assert "trace:" not in str(caught.value)

    def test_shows_the_line_and_the_way_of_the_shape(self):
        def forward(x):
            x = F.max_pool2d(x, 2)
            x = x.view(-1, 400)
            return nn.Linear(400, 10)(x)

        with safe_ce.trail(), pytest.raises(safe_ce.SafeCrossEntropyError) as caught:
            x = nn.Conv2d(3, 16, 5)(torch.randn(4, 3, 24, 24))
            safe_ce.cross_entropy(forward(x), torch.tensor([3, 0, 9, 1]))
        start = forward.__code__.co_firstlineno
        report = (
            str(caught.value).replace(str(start + 1), "1").replace(str(start + 2), "2").replace(str(start + 3), "3")
        )
        lines = report.splitlines()
        begin = next(number for number, line in enumerate(lines) if "note:" in line)
        here = blame_place(caught.value)
        assert lines[begin : begin + 6] == [
            f"  note: {here}:2 in forward called at {here}:{caller_line(caught.value)}: `x = x.view(-1, 400)`",
            "        turned (4, 16, 10, 10) into (16, 400)",
            "  note: the way of the shape, from where it was last right",
            f"          {here}:1  max_pool2d  (4, 16, 10, 10)",
            f"          {here}:2  view        (16, 400)",
            f"          {here}:3  linear      (16, 10)",
        ]

    def test_as_a_warning_is_the_same_at_every_step(self):
        criterion = safe_ce.SafeCrossEntropyLoss(mode="warn")
        texts = []
        for rows in (4, 6):
            with safe_ce.trail(), pytest.warns(safe_ce.SafeCrossEntropyWarning) as caught:
                safe_ce.SafeCrossEntropyLoss(mode="warn")(
                    torch.randn(rows, 3).relu(), torch.zeros(rows, dtype=torch.int64)
                )
                criterion.forward(
                    torch.randn(rows, 3, requires_grad=True).softmax(1), torch.zeros(rows, dtype=torch.int64)
                )
            texts.append([str(warning.message) for warning in caught])
            criterion = safe_ce.SafeCrossEntropyLoss(mode="warn")
        assert texts[0] == texts[1]
        assert any("note: " in text and ".softmax(1)" in text for text in texts[0])


def blame_place(error):
    from safe_ce.lines import shortened

    return shortened(error.findings[0].blame.filename)


def caller_line(error):
    return error.findings[0].blame.called[1]
