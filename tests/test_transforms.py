"""Where a tensor has no values of its own to read, the guard reads none and changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss

INPUT = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
"""Softmaxed, without a graph: whoever reads it in strict mode raises."""

TARGET = torch.tensor([0, 1, 2, 0])


def fake(criterion):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        return criterion(mode.from_tensor(INPUT), mode.from_tensor(TARGET)).shape


def on_a_device_that_is_not_there(criterion):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        loss = criterion(torch.empty(4, 3, device="cuda"), torch.empty(4, dtype=torch.int64, device="cuda"))
    return str(loss.device)


def distributed(criterion):
    from torch.distributed.device_mesh import init_device_mesh

    try:
        from torch.distributed.tensor import Replicate, Shard, distribute_tensor
    except ImportError:  # torch 2.4
        from torch.distributed._tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1,))
    criterion.reduction = "sum"  # torch 2.4 has no mean over processes on a CPU
    input, target = distribute_tensor(INPUT, mesh, [Shard(0)]), distribute_tensor(TARGET, mesh, [Replicate()])
    return criterion(input, target).full_tensor()


def exported(criterion, *, strict):
    torch._dynamo.reset()  # it traces a function anew only so many times
    return torch.export.export(criterion, (INPUT, TARGET), strict=strict).module()(INPUT, TARGET)


def proxied(criterion):
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(criterion, tracing_mode="fake")(INPUT, TARGET)(INPUT, TARGET)


TRANSFORMS = {
    "meta": lambda criterion: criterion(INPUT.to("meta"), TARGET.to("meta")).shape,
    "fake": fake,
    "fake cuda": on_a_device_that_is_not_there,
    "vmap": lambda criterion: torch.func.vmap(criterion)(INPUT[None], TARGET[None]),
    "vmap over samples": lambda criterion: torch.func.vmap(criterion)(INPUT, TARGET),
    "grad": lambda criterion: torch.func.grad(criterion)(INPUT, TARGET),
    "jvp": lambda criterion: torch.func.jvp(lambda scores: criterion(scores, TARGET), (INPUT,), (INPUT,))[1],
    "jacrev": lambda criterion: torch.func.jacrev(criterion)(INPUT, TARGET),
    "hessian": lambda criterion: torch.func.hessian(criterion)(INPUT, TARGET),
    "functionalize": lambda criterion: torch.func.functionalize(criterion)(INPUT, TARGET),
    "script": lambda criterion: torch.jit.script(criterion)(INPUT, TARGET),
    "trace": lambda criterion: torch.jit.trace(criterion, (INPUT, TARGET), check_trace=False)(INPUT, TARGET),
    "fx": lambda criterion: torch.fx.symbolic_trace(criterion)(INPUT, TARGET),
    "make_fx": proxied,
    "export": lambda criterion: exported(criterion, strict=False),
    "strict export": lambda criterion: exported(criterion, strict=True),
    "distributed": distributed,
}


@pytest.fixture
def alone():
    """A process group of one."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("calls", [0, 30], ids=["first call", "after some calls"])
@pytest.mark.parametrize("mode", ["strict", "default", "warn"])
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of TorchScript
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:DTensor random operators:UserWarning")
@pytest.mark.usefixtures("alone")
def test_a_transform_runs_as_with_native(name, mode, calls):
    criterion = SafeCrossEntropyLoss(mode=mode)
    for _ in range(calls):
        criterion(torch.randn(4, 3), TARGET)
    found, expected = TRANSFORMS[name](criterion), TRANSFORMS[name](nn.CrossEntropyLoss())
    assert torch.equal(found, expected) if isinstance(found, torch.Tensor) else found == expected


@pytest.mark.parametrize("mode", ["strict", "warn"])
@pytest.mark.parametrize(
    "name", sorted(TRANSFORMS.keys() - {"fx"})
)  # its code calls the function by name, and is guarded
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as above
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:DTensor random operators:UserWarning")
@pytest.mark.usefixtures("alone")
def test_a_transform_of_native_s_own_loss_runs_as_ever_where_it_is_guarded(name, mode):
    expected = TRANSFORMS[name](nn.CrossEntropyLoss())
    with safe_ce.guarded(mode):
        found = TRANSFORMS[name](nn.CrossEntropyLoss())
    assert torch.equal(found, expected) if isinstance(found, torch.Tensor) else found == expected


def test_the_same_values_are_an_error_where_they_can_be_read():
    with pytest.raises(SafeCrossEntropyError, match="softmax was applied"):
        SafeCrossEntropyLoss(mode="strict")(INPUT, TARGET)


@pytest.mark.parametrize("name", ["meta", "vmap", "grad", "jvp"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as above
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_broken_call_is_explained_all_the_same(name):
    broken = {
        "meta": lambda criterion: criterion(INPUT.to("meta"), TARGET[:3].to("meta")),
        "vmap": lambda criterion: torch.func.vmap(criterion)(INPUT[None], TARGET[None, :3]),
        "grad": lambda criterion: torch.func.grad(criterion)(INPUT, TARGET[:3]),
        "jvp": lambda criterion: torch.func.jvp(lambda scores: criterion(scores, TARGET[:3]), (INPUT,), (INPUT,)),
    }[name]
    with pytest.raises(SafeCrossEntropyError) as caught:
        broken(SafeCrossEntropyLoss())
    assert caught.value.cause == "ragged-batch"


def test_a_captured_stream_is_not_read(monkeypatch):
    from safe_ce import probe

    class OnDevice(torch.Tensor):
        is_cuda = True

    for answer in (lambda: False, lambda: True):
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", answer)
        assert probe.is_readable(INPUT.as_subclass(OnDevice)) != answer()
