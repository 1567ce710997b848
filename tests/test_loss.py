"""The drop-in faces: everything that nn.CrossEntropyLoss and F.cross_entropy do."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss

OPTIONS = [
    {},
    {"weight": torch.tensor([1.0, 2.0, 3.0])},
    {"reduction": "none", "ignore_index": 1},
    {"reduction": "sum", "label_smoothing": 0.1},
]


def data(*extra):
    return torch.randn(4, 3, *extra), torch.randint(3, (4, *extra))


def both(options):
    return SafeCrossEntropyLoss(**copy.deepcopy(options)), nn.CrossEntropyLoss(**copy.deepcopy(options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("extra", [(), (5,), (5, 6)], ids=str)
def test_loss_and_gradient_are_native_s_bit_for_bit(options, extra):
    input, target = data(*extra)
    results = []
    for criterion in both(options):
        leaf = input.clone().requires_grad_()
        loss = criterion(leaf, target)
        loss.sum().backward()
        results.append((loss.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_the_constructor_takes_native_s_arguments_in_native_s_order():
    ours = list(inspect.signature(SafeCrossEntropyLoss.__init__).parameters.values())
    native = list(inspect.signature(nn.CrossEntropyLoss.__init__).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(native)]] == [(p.name, p.default) for p in native]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(native) :])


def test_the_function_takes_native_s_arguments_in_native_s_order():
    ours = list(inspect.signature(safe_ce.cross_entropy).parameters.values())
    native = list(inspect.signature(F.cross_entropy).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(native)]] == [(p.name, p.default) for p in native]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(native) :])


def test_it_is_a_cross_entropy_loss_in_every_attribute():
    ours, native = both(OPTIONS[1])
    assert isinstance(ours, nn.CrossEntropyLoss)
    assert repr(ours) == "SafeCrossEntropyLoss()"
    assert ours.state_dict().keys() == native.state_dict().keys()
    assert not list(ours.parameters())
    assert not list(ours.children())


@pytest.mark.parametrize("options", OPTIONS[:2], ids=str)
def test_checkpoints_load_both_ways(options):
    ours, native = both(options)
    ours.load_state_dict(native.state_dict(), strict=True)
    native.load_state_dict(ours.state_dict(), strict=True)


def copies(criterion):
    yield copy.copy(criterion)
    yield copy.deepcopy(criterion)
    yield pickle.loads(pickle.dumps(criterion))
    buffer = io.BytesIO()
    torch.save(criterion, buffer)
    buffer.seek(0)
    yield torch.load(buffer, weights_only=False)


def test_copies_keep_the_class_the_options_and_the_guard_s_own():
    criterion = SafeCrossEntropyLoss(mode="strict", ignore=["SCE104"], reduction="sum")
    input, target = data()
    criterion(input, target)
    for twin in copies(criterion):
        assert type(twin) is SafeCrossEntropyLoss
        assert (twin.mode, twin.ignore, twin.reduction) == ("strict", ("relu-applied",), "sum")
        assert torch.equal(twin(input, target), criterion(input, target))
        with pytest.raises(SafeCrossEntropyError):
            twin(input.softmax(1), target)


def test_a_copy_does_not_share_the_memory_of_calls():
    criterion = SafeCrossEntropyLoss()
    criterion(*data())
    twin = copy.copy(criterion)
    assert twin._memory.schedule.calls == 0


def test_a_native_loss_s_state_is_a_valid_state():
    native = nn.CrossEntropyLoss(label_smoothing=0.1)
    ours = SafeCrossEntropyLoss.__new__(SafeCrossEntropyLoss)
    ours.__setstate__(copy.deepcopy(native.__dict__))
    input, target = data()
    assert torch.equal(ours(input, target), native(input, target))


def test_options_may_be_changed_after_construction():
    ours, native = both({})
    input, target = data()
    for name, value in (("reduction", "sum"), ("label_smoothing", 0.2), ("ignore_index", 1)):
        setattr(ours, name, value)
        setattr(native, name, value)
        assert torch.equal(ours(input, target), native(input, target))


def test_keywords_hooks_and_moves():
    criterion = SafeCrossEntropyLoss(weight=torch.ones(3))
    seen = []
    criterion.register_forward_hook(lambda module, arguments, loss: seen.append(loss))
    input, target = data()
    criterion(input=input, target=target)
    assert len(seen) == 1
    assert criterion.double().weight.dtype is torch.float64


def test_deprecated_arguments_are_native_s():
    input, target = data()
    with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
        criterion = SafeCrossEntropyLoss(size_average=False)
    assert criterion.reduction == "sum"
    with pytest.warns(UserWarning, match="size_average and reduce args will be deprecated"):
        loss = safe_ce.cross_entropy(input, target, reduce=False)
    assert loss.shape == (4,)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_function_is_native_s(options):
    input, target = data()
    assert torch.equal(safe_ce.cross_entropy(input, target, **options), F.cross_entropy(input, target, **options))


def test_the_function_diagnoses():
    input, target = data()
    with pytest.raises(SafeCrossEntropyError) as caught:
        safe_ce.cross_entropy(input, target[:, None])
    assert caught.value.cause == "target-extra-dim"
    assert type(safe_ce.cross_entropy(input, target, mode="off")) is torch.Tensor


def test_the_guard_may_be_put_in_native_s_place(monkeypatch):
    input, target = data()
    expected = F.cross_entropy(input, target)
    monkeypatch.setattr(F, "cross_entropy", safe_ce.cross_entropy)
    assert torch.equal(F.cross_entropy(input, target), expected)
    assert torch.equal(nn.CrossEntropyLoss()(input, target), expected)
    assert torch.equal(SafeCrossEntropyLoss()(input, target), expected)
    with pytest.raises(SafeCrossEntropyError):
        nn.CrossEntropyLoss()(input, target[:, None])


@pytest.mark.parametrize("mode", ["strict", "default", "warn"])
def test_no_tensor_is_kept(mode):
    criterion = SafeCrossEntropyLoss(mode=mode)
    input, target = data()
    input.requires_grad_()
    loss = criterion(input, target)
    alive = [weakref.ref(tensor) for tensor in (input, target, loss)]
    del input, target, loss
    assert [reference() for reference in alive] == [None] * 3


def test_no_tensor_is_kept_by_a_rejected_call():
    criterion = SafeCrossEntropyLoss()
    input, target = data()
    with pytest.raises(SafeCrossEntropyError):
        criterion(input, target[:2])
    alive = [weakref.ref(input), weakref.ref(target)]
    del input, target
    import gc

    gc.collect()
    assert [reference() for reference in alive] == [None] * 2


def test_modes_of_torch_see_native_s_operations_alone():
    seen = []

    class Functions(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(getattr(function, "__name__", str(function)))
            return function(*args, **(kwargs or {}))

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    input, target = data()
    for watcher in (Functions, Operations):
        logs = []
        for criterion in (SafeCrossEntropyLoss(mode="strict"), nn.CrossEntropyLoss()):
            seen.clear()
            with watcher():
                criterion(input, target)
            logs.append([name for name in seen if name != "__get__"])
        assert logs[0] == logs[1]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.sampled_from(["strict", "default", "warn"]),
    st.sampled_from(["mean", "sum", "none"]),
    st.integers(0, 2**16),
)
def test_random_scores_and_ids_are_never_accused(shape, mode, reduction, seed):
    shape[1] += 1
    random = torch.Generator().manual_seed(seed)
    input = torch.randn(shape, generator=random, requires_grad=True)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=random)
    loss = SafeCrossEntropyLoss(mode=mode, reduction=reduction)(input, target)
    assert torch.equal(loss, F.cross_entropy(input, target, reduction=reduction))
