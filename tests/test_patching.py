"""install, uninstall and guarded: code that does not know of the guard, guarded."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import io
import pickle
import subprocess
import sys
import threading
import types
from contextlib import nullcontext
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.functional import cross_entropy as by_name
from torch.overrides import TorchFunctionMode

import safe_ce
from safe_ce import SafeCrossEntropyLoss, contract
from safe_ce.places import PLACES, memories
from tests import saying

NATIVE = contract.original
CODE = NATIVE.__code__
TARGET = torch.tensor([0, 1, 2, 0])


def raw():
    return torch.randn(4, 3, requires_grad=True)


def softmaxed(logits=None):
    return (raw() if logits is None else logits).softmax(1)


def cause_of(function, input, target=TARGET):
    """The cause that a call raises, or None where it is not guarded."""
    said = saying.said(function, input, target)
    return said.cause if isinstance(said, safe_ce.SafeCrossEntropyError) else None


def through_the_module(input, target):
    return nn.CrossEntropyLoss()(input, target)


def through_the_function(input, target):
    return F.cross_entropy(input, target)


def through_a_bound_name(input, target):
    return by_name(input, target)


def through_a_default(input, target, loss=F.cross_entropy):
    return loss(input, target)


def generating():
    yield


class Model(nn.Module):
    loss = staticmethod(F.cross_entropy)

    def forward(self, input, target):
        return self.loss(input, target)


EVERY_WAY = [
    through_the_module,
    through_the_function,
    through_a_bound_name,
    through_a_default,
    functools.partial(F.cross_entropy, reduction="sum"),
    Model(),
]


@pytest.mark.parametrize("call", EVERY_WAY)
class TestEveryWayToNative:
    def test_is_guarded_while_installed(self, call):
        assert cause_of(call, softmaxed()) is None
        safe_ce.install()
        assert cause_of(call, softmaxed()) == "softmax-applied"
        assert cause_of(call, raw(), TARGET[:, None]) == "target-extra-dim"
        safe_ce.uninstall()
        assert cause_of(call, softmaxed()) is None

    def test_gives_native_s_own_loss(self, call):
        input = raw()
        expected = call(input, TARGET)
        with safe_ce.guarded("strict"):
            assert torch.equal(call(input, TARGET), expected)

    def test_is_left_alone_in_mode_off(self, call):
        with safe_ce.guarded("off"):
            assert cause_of(call, softmaxed()) is None


class TestInstall:
    def test_restores_what_it_found(self):
        def found():
            return (
                {name: dict(namespace) for name, namespace in (("F", vars(F)), ("here", globals()))},
                [getattr(NATIVE, name) for name in ("__code__", "__defaults__", "__kwdefaults__", "__dict__")],
                (list(sys.meta_path), dict(vars(nn.CrossEntropyLoss))),
            )

        before = found()
        safe_ce.install()
        assert NATIVE.__code__ is not before[1][0]
        safe_ce.uninstall()
        assert found() == before
        assert NATIVE.__code__ is before[1][0]

    def test_leaves_native_s_function_the_one_that_it_is(self):
        described = inspect.signature(NATIVE), inspect.getsource(NATIVE), NATIVE.__doc__, pickle.dumps(NATIVE)
        safe_ce.install()
        assert F.cross_entropy is by_name is NATIVE
        assert (inspect.signature(NATIVE), inspect.getsource(NATIVE), NATIVE.__doc__, pickle.dumps(NATIVE)) == described

    def test_twice_is_once(self):
        safe_ce.install()
        safe_ce.install(ignore=["softmax-applied"])
        assert cause_of(through_the_function, softmaxed()) is None
        safe_ce.uninstall()
        assert cause_of(through_the_function, raw().relu()) is None
        safe_ce.uninstall()

    def test_again_after_uninstall(self):
        for _ in range(3):
            safe_ce.install()
            assert cause_of(F.cross_entropy, softmaxed()) == "softmax-applied"
            safe_ce.uninstall()
            assert NATIVE.__code__ is CODE

    def test_covers_modules_imported_later(self, monkeypatch):
        safe_ce.install()
        late = types.ModuleType("late")
        monkeypatch.setitem(sys.modules, "late", late)
        exec("from torch.nn.functional import cross_entropy as mine", vars(late))
        assert cause_of(late.mine, softmaxed()) == "softmax-applied"
        safe_ce.uninstall()
        assert late.mine is NATIVE
        assert cause_of(late.mine, softmaxed()) is None

    def test_comes_and_goes_while_threads_train(self):
        failures, stop = [], threading.Event()

        def train():
            input, expected = raw(), None
            while not stop.is_set():
                loss = F.cross_entropy(input, TARGET).item()
                if expected not in (None, loss):
                    failures.append(loss)
                expected = loss

        threads = [threading.Thread(target=train) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(500):
            safe_ce.install()
            with safe_ce.guarded("strict"):
                F.cross_entropy(raw(), TARGET)
            safe_ce.uninstall()
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_reaches_every_thread(self):
        safe_ce.install()
        said = []
        thread = threading.Thread(target=lambda: said.append(cause_of(F.cross_entropy, softmaxed())))
        thread.start()
        thread.join()
        assert said == ["softmax-applied"]

    def test_follows_the_mode_in_force(self):
        safe_ce.install()
        with safe_ce.mode("warn"):
            assert saying.said(F.cross_entropy, softmaxed(), TARGET) == ["softmax-applied"]
        safe_ce.set_mode("strict")
        assert cause_of(F.cross_entropy, raw().relu()) == "relu-applied"

    def test_hands_findings_to_the_callback(self):
        found = []
        safe_ce.install(on_finding=found.append)
        cause_of(F.cross_entropy, softmaxed())
        assert [finding.cause for finding in found] == ["softmax-applied"]

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"ignore": ["nothing-like-it"]}, ValueError, "SCE101 softmax-applied"),
            ({"ignore": "SCE101"}, TypeError, "collection"),
            ({"probe": "often"}, ValueError, "'scheduled'"),
            ({"on_finding": 3}, TypeError, "callable"),
        ],
    )
    @pytest.mark.parametrize("entry", [safe_ce.install, safe_ce.guarded])
    def test_refuses_bad_settings_and_changes_nothing(self, entry, options, error, text):
        with pytest.raises(error, match=text):
            entry(**options)
        assert NATIVE.__code__ is CODE


class TestGuarded:
    def test_is_a_context_and_a_decorator(self):
        with safe_ce.guarded():
            assert cause_of(F.cross_entropy, softmaxed()) == "softmax-applied"
        assert NATIVE.__code__ is CODE
        assert safe_ce.guarded()(cause_of)(through_the_function, softmaxed()) == "softmax-applied"
        assert NATIVE.__code__ is CODE

    def test_decorates_asynchronous_functions_and_refuses_generators(self):
        @safe_ce.guarded("strict", ignore=(cause for cause in ["relu-applied"]))
        async def waited_for(logits):
            await asyncio.sleep(0)
            return cause_of(through_the_function, logits)

        for _ in range(2):
            assert asyncio.run(waited_for(softmaxed())) == "softmax-applied"
            assert asyncio.run(waited_for(raw().relu())) is None
        with pytest.raises(TypeError, match="with statement"):
            safe_ce.guarded()(generating)
        with pytest.raises(ValueError, match="'strict'"):
            safe_ce.guarded("loud")

    def test_nests_the_innermost_wins(self):
        with safe_ce.guarded("strict"):
            with safe_ce.guarded("warn"):
                assert saying.said(F.cross_entropy, softmaxed(), TARGET) == ["softmax-applied"]
            with safe_ce.guarded(ignore=["SCE101"]):
                assert cause_of(F.cross_entropy, softmaxed()) is None
            assert cause_of(F.cross_entropy, softmaxed()) == "softmax-applied"
        assert NATIVE.__code__ is CODE

    def test_inside_install_and_install_inside_it(self):
        safe_ce.install(ignore=["softmax-applied"])
        with safe_ce.guarded():
            assert cause_of(F.cross_entropy, softmaxed()) == "softmax-applied"
            safe_ce.uninstall()
            assert cause_of(F.cross_entropy, softmaxed()) == "softmax-applied"
            safe_ce.install()
        assert cause_of(F.cross_entropy, softmaxed()) == "softmax-applied"

    def test_is_this_thread_s_alone(self):
        said = []
        with safe_ce.guarded():
            thread = threading.Thread(target=lambda: said.append(cause_of(F.cross_entropy, softmaxed())))
            thread.start()
            thread.join()
        assert said == [None]

    def test_is_this_task_s_alone(self):
        async def inside():
            with safe_ce.guarded():
                await asyncio.sleep(0.01)
                return cause_of(F.cross_entropy, softmaxed())

        async def outside():
            await asyncio.sleep(0.001)
            return cause_of(F.cross_entropy, softmaxed())

        async def both():
            return await asyncio.gather(inside(), outside())

        assert asyncio.run(both()) == ["softmax-applied", None]

    def test_may_be_left_in_another_task_than_it_was_entered_in(self):
        def generating():
            with safe_ce.guarded("strict"):
                yield

        left = generating()
        contextvars.copy_context().run(next, left)
        left.close()
        assert NATIVE.__code__ is CODE

    def test_ends_with_an_exception(self):
        with pytest.raises(KeyError), safe_ce.guarded("strict"):
            raise KeyError
        assert NATIVE.__code__ is CODE
        assert safe_ce.modes.innermost() is None


class TestAnExistingLoss:
    def test_keeps_its_identity_class_and_state(self):
        criterion = nn.CrossEntropyLoss(weight=torch.ones(3))
        state, kind = dict(vars(criterion)), type(criterion)
        with safe_ce.guarded():
            assert cause_of(criterion, softmaxed()) == "softmax-applied"
            assert type(criterion) is kind is nn.CrossEntropyLoss
            assert dict(vars(criterion)) == state
            assert inspect.signature(F.cross_entropy) == inspect.signature(NATIVE)

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
    def test_can_be_copied_pickled_and_scripted_while_guarded(self):
        criterion = nn.CrossEntropyLoss()
        input = raw()
        expected = criterion(input, TARGET)
        with safe_ce.guarded():
            saved = io.BytesIO()
            torch.save(criterion, saved)
            saved.seek(0)
            twins = [
                copy.deepcopy(criterion),
                pickle.loads(pickle.dumps(criterion)),
                torch.load(saved, weights_only=False),
                torch.jit.script(criterion),
            ]
        assert all(torch.equal(twin(input, TARGET), expected) for twin in twins)

    def test_has_hooks_and_subclasses_as_before(self):
        class Halved(nn.CrossEntropyLoss):
            def forward(self, input, target):
                return super().forward(input, target) / 2

        criterion = Halved()
        seen = []
        criterion.register_forward_hook(lambda module, arguments, loss: seen.append(loss))
        with safe_ce.guarded():
            loss = criterion(raw(), TARGET)
            assert seen == [loss]
            assert cause_of(criterion, softmaxed()) == "softmax-applied"


class TestOthers:
    def test_nll_loss_after_log_softmax_is_another_function(self):
        with safe_ce.guarded("strict"):
            F.nll_loss(F.log_softmax(raw(), dim=1), TARGET)
            nn.NLLLoss()(F.log_softmax(raw(), dim=1), TARGET)

    def test_a_loss_that_is_guarded_already_is_guarded_once(self):
        found = []
        criterion = SafeCrossEntropyLoss(on_finding=found.append)
        with safe_ce.guarded(on_finding=found.append):
            cause_of(criterion, softmaxed())
            assert len(found) == 1
            cause_of(functools.partial(safe_ce.cross_entropy, on_finding=found.append), softmaxed())
            assert len(found) == 2
        assert criterion.stats().calls == 1

    def test_a_guarded_loss_hears_what_is_said_for_all(self):
        found = []
        with safe_ce.guarded("warn", ignore=["softmax-applied"], on_finding=found.append):
            assert saying.said(SafeCrossEntropyLoss(), softmaxed(), TARGET) == []
            assert saying.said(SafeCrossEntropyLoss(), raw().relu(), TARGET) == ["relu-applied"]
        assert [finding.cause for finding in found] == ["relu-applied"]

    @pytest.mark.parametrize("first", ["theirs", "ours"])
    def test_a_function_that_another_package_put_there_is_guarded_and_stays(self, monkeypatch, first):
        def fused(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean",
                  label_smoothing=0.0, softcap=None):  # fmt: skip
            asked.append(softcap)
            return NATIVE(input, target, weight, None, ignore_index, None, reduction, label_smoothing)

        asked = []
        if first == "ours":
            safe_ce.install()
        monkeypatch.setattr(F, "cross_entropy", fused)
        if first == "theirs":
            safe_ce.install()
            assert cause_of(F.cross_entropy, softmaxed()) == "softmax-applied"
            F.cross_entropy(raw(), TARGET, softcap=2.0)
            F.cross_entropy(raw(), TARGET)
            assert asked == [2.0, None]
        safe_ce.uninstall()
        assert F.cross_entropy is fused

    @pytest.mark.parametrize(
        "fused",
        [
            lambda input, target, ignore_index=0: (input, target, ignore_index),
            lambda input, target, reduction="mean", size_average=None: (input, target, reduction, size_average),
            lambda logits, labels, **options: (logits, labels, options),
            lambda *arguments, **options: (arguments, options),
        ],
    )
    def test_it_is_called_as_the_program_calls_it(self, monkeypatch, fused):
        input = raw()
        monkeypatch.setattr(F, "cross_entropy", fused)
        for options in [{}, {"ignore_index": 1}, {"size_average": False}, {"target": TARGET}]:
            arguments = (input,) if "target" in options else (input, TARGET)
            try:
                expected = fused(*arguments, **options)
            except TypeError:
                continue
            with safe_ce.guarded("warn"):
                assert F.cross_entropy(*arguments, **options) == expected

    @pytest.mark.parametrize("passes_more_on", [False, True])
    def test_it_is_judged_by_its_own_defaults(self, monkeypatch, passes_more_on):
        def ignoring_zero(input, target, weight=None, ignore_index=0):
            return NATIVE(input, target, ignore_index=ignore_index)

        if passes_more_on:

            def ignoring_zero(input, target, *more, ignore_index=0, **others):
                return NATIVE(input, target, ignore_index=ignore_index)

        monkeypatch.setattr(F, "cross_entropy", ignoring_zero)
        with safe_ce.guarded("strict"):
            assert cause_of(F.cross_entropy, raw(), torch.zeros(4).long()) == "all-targets-ignored"

    def test_a_mock_stays_a_mock(self, monkeypatch):
        stand_in = mock.Mock(return_value=torch.tensor(1.0))
        monkeypatch.setattr(F, "cross_entropy", stand_in)
        with safe_ce.guarded("strict"):
            assert F.cross_entropy is stand_in

    def test_what_such_a_function_accepts_and_native_would_refuse_is_warned_about(self, monkeypatch):
        def lenient(input, target, weight=None, *options, **others):
            return NATIVE(input, target[: len(input)])

        monkeypatch.setattr(F, "cross_entropy", lenient)
        with safe_ce.guarded("warn"):
            assert saying.said(F.cross_entropy, raw(), torch.zeros(5).long()) == ["ragged-batch"]
            assert saying.said(F.cross_entropy, raw(), TARGET) == []
        with safe_ce.guarded():
            assert cause_of(F.cross_entropy, raw(), torch.zeros(5).long()) == "ragged-batch"

    def test_native_is_found_where_another_was_in_its_place_before_the_guard_was_imported(self):
        program = """
import torch, torch.nn.functional as F
NATIVE = F.cross_entropy
def fused(input, target, *arguments, **options): return 2 * NATIVE(input, target)
F.cross_entropy = fused
import safe_ce
safe_ce.install()
input, target = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 0])
for function in (F.cross_entropy, NATIVE):
    try:
        function(input.softmax(1), target)
    except safe_ce.SafeCrossEntropyError as error:
        print(error.cause)
print(bool(F.cross_entropy(input, target) == 2 * NATIVE(input, target)))
safe_ce.uninstall()
print(F.cross_entropy is fused)
del NATIVE
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["softmax-applied", "softmax-applied", "True", "True"]

    def test_native_is_there_where_nobody_holds_it(self):
        program = """
import torch, torch.nn.functional as F
F.cross_entropy = lambda input, target, *arguments, **options: input.sum() * 0
import gc; gc.collect()
import safe_ce
print(safe_ce.cross_entropy(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])).item())
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert float(done.stdout) == pytest.approx(1.0986, abs=1e-4)

    def test_who_has_put_the_function_face_there_gets_it_back(self, monkeypatch):
        monkeypatch.setattr(F, "cross_entropy", safe_ce.cross_entropy)
        with safe_ce.guarded(ignore=["softmax-applied"]):
            assert cause_of(F.cross_entropy, softmaxed()) is None
        assert cause_of(F.cross_entropy, softmaxed()) == "softmax-applied"


class TestTorchsOwnMachinery:
    def test_modes_and_subclasses_are_told_of_native_s_function(self):
        class Recorder(TorchFunctionMode):
            def __torch_function__(self, function, types, arguments=(), options=None):
                called.append(function is F.cross_entropy)
                return function(*arguments, **(options or {}))

        class Logits(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, arguments=(), options=None):
                called.append(function is F.cross_entropy)
                return super().__torch_function__(function, types, arguments, options)

        called = []
        with safe_ce.guarded():
            with Recorder():
                F.cross_entropy(raw(), TARGET)
            assert called.count(True) == 1
            called.clear()
            before = safe_ce.stats().calls
            F.cross_entropy(raw().as_subclass(Logits), TARGET)
            assert called.count(True) == 1
            assert safe_ce.stats().calls == before + 1

    def test_fx_traces_to_native_s_function(self):
        class Lossy(nn.Module):
            def forward(self, input, target):
                return F.cross_entropy(input, target)

        with safe_ce.guarded():
            graph = fx.symbolic_trace(Lossy()).graph
        assert [node.target for node in graph.nodes if node.op == "call_function"] == [NATIVE]

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
    def test_torchscript_compiles_native_s_function(self):
        input = raw()
        expected = F.cross_entropy(input, TARGET)
        with safe_ce.guarded():
            scripted = torch.jit.script(lossy)
        assert torch.equal(scripted(input, TARGET), expected)

    def test_a_call_with_native_s_own_faults_gets_native_s_own_errors(self):
        for arguments, options in [((raw(),), {}), ((raw(), TARGET), {"nonsense": 1})]:
            with pytest.raises(TypeError) as native:
                F.cross_entropy(*arguments, **options)
            with safe_ce.guarded(), pytest.raises(TypeError) as ours:
                F.cross_entropy(*arguments, **options)
            assert str(ours.value) == str(native.value)

    def test_handlers_see_the_deprecated_arguments_as_they_were_given(self):
        class Recorder(TorchFunctionMode):
            def __torch_function__(self, function, types, arguments=(), options=None):
                if function is NATIVE:
                    seen.append({name: options[name] for name in ("size_average", "reduce", "reduction")})
                    return torch.zeros(())
                return function(*arguments, **(options or {}))

        seen = []
        for around in (nullcontext(), safe_ce.guarded(), safe_ce.guarded("off")):
            with around, Recorder():
                F.cross_entropy(raw(), TARGET, size_average=False)
        assert seen == [{"size_average": False, "reduce": None, "reduction": "mean"}] * 3

    def test_deprecated_arguments_mean_what_they_mean(self):
        input = raw()
        with pytest.warns(UserWarning, match="size_average and reduce"):
            expected = F.cross_entropy(input, TARGET, size_average=False)
        with safe_ce.guarded(), pytest.warns(UserWarning, match="size_average and reduce"):
            assert torch.equal(F.cross_entropy(input, TARGET, size_average=False), expected)


def lossy(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(input, target)


class TestPlaces:
    def test_a_loss_built_anew_in_every_step_is_remembered_by_its_line(self):
        def step(input, target):
            return nn.CrossEntropyLoss()(input, target)

        with safe_ce.guarded():
            before = safe_ce.stats()
            said = [saying.said(step, raw().relu(), TARGET) for _ in range(40)]
            after = safe_ce.stats()
        assert said == [["relu-applied"]] + [[]] * 39
        assert after.calls - before.calls == 40
        assert after.probes - before.probes < 20

    def test_two_lines_remember_apart(self):
        with safe_ce.guarded():
            assert saying.said(through_the_function, raw().relu(), TARGET) == ["relu-applied"]
            assert saying.said(through_a_bound_name, raw().relu(), TARGET) == ["relu-applied"]
            assert saying.said(through_a_bound_name, raw().relu(), TARGET) == []

    def test_ever_new_code_is_forgotten_in_time(self):
        with safe_ce.guarded():
            before = safe_ce.stats().calls
            for _ in range(PLACES + 20):
                exec("F.cross_entropy(input, target)", {"F": F, "input": raw(), "target": TARGET})
            assert len(list(memories())) == PLACES
            assert safe_ce.stats().calls == before + PLACES + 20


class TestTheTracer:
    """In processes of their own: what dynamo knows of torch's functions it learns once."""

    @pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="compiles native's call alone")
    @pytest.mark.parametrize("order", ["dynamo first", "install first"])
    @pytest.mark.parametrize("backend", ["eager", "aot_eager"])
    def test_compiled_code_is_guarded(self, order, backend):
        program = f"""
import torch, safe_ce
from torch import nn
if {order == "dynamo first"}:
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))
safe_ce.install()
def step(input, target):
    return torch.nn.functional.cross_entropy(input.softmax(1), target)
for call in (torch.compile(step, backend={backend!r}, fullgraph=True),
             torch.compile(lambda x, y: criterion(x.softmax(1), y), backend={backend!r}, fullgraph=True)):
    criterion = nn.CrossEntropyLoss()
    try:
        call(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    except safe_ce.SafeCrossEntropyError as error:
        print(error.cause)
safe_ce.uninstall()
call(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["softmax-applied"] * 2, done.stderr
