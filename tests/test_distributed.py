"""Several processes that wait for one another: the guard of each changes nothing of when they do, and says its rank."""

from __future__ import annotations

import multiprocessing
import tempfile
import warnings
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss, SafeCrossEntropyWarning
from tests.faces import ALL, GUARDED, facing

PROCESSES = multiprocessing.get_context("forkserver")
# Slow to import, and so once for all of them.
PROCESSES.set_forkserver_preload(
    ["pytest", "torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor.parallel"]
)

PATIENCE = 120
"""Seconds after which a process is taken to wait for ever."""

STEPS = 6
SPOILT = 3
"""The step with the mistake, where there is one."""

CLASSES = 4


class Ending(NamedTuple):
    """How a process ended: what it returned or raised, what it was warned of, and what its guard counted."""

    value: Any
    error: Exception | None
    warned: list[SafeCrossEntropyWarning]
    stats: safe_ce.Stats
    faults: set[str]


def in_two_ranks(work, *arguments):
    """How ``work(rank, *arguments)`` ends in each of two processes of one group."""
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for rank in range(2):
            receiver, sender = PROCESSES.Pipe(duplex=False)
            process = PROCESSES.Process(target=_rank, args=(sender, folder, rank, work, arguments), daemon=True)
            process.start()
            sender.close()
            started.append((process, receiver))
        try:
            endings = [receiver.recv() if receiver.poll(PATIENCE) else None for _, receiver in started]
        finally:
            for process, _ in started:
                process.kill()
                process.join()
    assert None not in endings, "a process waits for ever"
    assert [ending.faults for ending in endings] == [set(), set()]
    return endings


def _rank(sender, folder, rank, work, arguments):
    # The group is left to the end of the process: torch may deadlock where it is destroyed before the model.
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    value = error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = work(rank, *arguments)
        except Exception as raised:
            error = raised
    from safe_ce import faults

    warned = [warning.message for warning in caught if isinstance(warning.message, SafeCrossEntropyWarning)]
    sender.send(Ending(value, error, warned, safe_ce.stats(), faults._faults))


MISTAKES = {
    None: lambda logits, labels: (logits, labels),
    "softmax-applied": lambda logits, labels: (logits.softmax(1), labels),
    "label-out-of-range": lambda logits, labels: (logits, labels + CLASSES),
    "ragged-batch": lambda logits, labels: (logits, labels[:-1]),
}


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def losses(model, face, mistake, seed):
    """The losses of a short training, with a mistake in one of its steps."""
    generator, found = torch.Generator().manual_seed(seed), []
    with facing(face) as criterion:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(STEPS):
            features, labels = torch.randn(8, 5, generator=generator), torch.randint(CLASSES, (8,), generator=generator)
            optimizer.zero_grad()
            spoil = MISTAKES[mistake if step == SPOILT else None]
            loss = criterion(*spoil(model(features), labels))
            loss.backward()
            optimizer.step()
            found.append(whole(loss.detach()).item())
    return found


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def data_parallel(rank, face, mistake=None):
    return losses(DistributedDataParallel(layers()), face, mistake, seed=rank)


def with_unused_parameters(rank, face, head=None):
    """As torch looks for those, what the model returns passes through an autograd function of torch's own."""
    heads = {None: nn.Identity(), "softmax-applied": nn.Softmax(1), "log-softmax-applied": nn.LogSoftmax(1)}
    model = DistributedDataParallel(nn.Sequential(layers(), heads[head]), find_unused_parameters=True)
    logits = model(torch.zeros(8, 5))
    assert "Sink" in logits.grad_fn.name()
    return losses(model, face, None, seed=rank)


def fully_sharded(rank, face, mistake=None):
    from torch.distributed.fsdp import fully_shard

    model, mesh = layers(), init_device_mesh("cpu", (2,))
    for part in (model[0], model[2], model):
        fully_shard(part, mesh=mesh)
    assert type(model(torch.zeros(8, 5))) is torch.Tensor
    return losses(model, face, mistake, seed=rank)


def tensor_parallel(rank, face, mistake=None):
    """Of logits that are sharded along their classes: the losses, and the collectives that were run for them."""
    from torch.distributed.tensor.parallel import ColwiseParallel, loss_parallel, parallelize_module

    plan = {"2": ColwiseParallel(use_local_output=False)}
    model = parallelize_module(layers(), init_device_mesh("cpu", (2,)), plan)
    assert model(torch.zeros(8, 5)).to_local().shape == (8, CLASSES // 2)
    with Collectives() as run, loss_parallel():
        found = losses(model, face, mistake, seed=0)
    assert run.names
    return found, run.names


class Collectives(TorchDispatchMode):
    """Records the collectives that are run, those inside operations of distributed tensors among them."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if any(hasattr(kind, "full_tensor") for kind in types):
            return NotImplemented  # and is seen again, in pieces
        if "c10d" in function.namespace:
            self.names.append(str(function))
        return function(*arguments, **(options or {}))


def with_every_face(rank, train, mistake=None, where=(0, 1), mode=None):
    """What a training returns or raises: native's, then those that are guarded."""
    safe_ce.set_mode(mode)
    return [outcome(train, rank, face, mistake if rank in where else None) for face in ALL]


def outcome(work, *arguments):
    try:
        return work(*arguments)
    except Exception as error:
        return error


sharding = pytest.mark.skipif(torch.__version__ < (2, 6), reason="there it needs an accelerator")


@pytest.mark.parametrize(
    "train", [data_parallel, with_unused_parameters, pytest.param(fully_sharded, marks=sharding), tensor_parallel]
)
def test_a_sound_run_is_native_s_bit_for_bit(train):
    for ending in in_two_ranks(with_every_face, train):
        assert ending.error is None
        native, *guarded = ending.value
        assert not isinstance(native, Exception)
        assert guarded == [native] * len(GUARDED)
        assert ending.stats.calls == len(GUARDED) * STEPS
        assert (ending.stats.findings, ending.warned) == ({}, [])


@pytest.mark.parametrize(
    "train, mistake",
    [
        (data_parallel, "softmax-applied"),
        (data_parallel, "label-out-of-range"),
        (with_unused_parameters, "softmax-applied"),
        pytest.param(fully_sharded, "softmax-applied", marks=sharding),
        pytest.param(fully_sharded, "ragged-batch", marks=sharding),
        (tensor_parallel, "ragged-batch"),
    ],
)
def test_a_mistake_of_every_rank_is_raised_in_each_with_its_number(train, mistake):
    for rank, ending in enumerate(in_two_ranks(with_every_face, train, mistake)):
        assert ending.error is None
        for error in ending.value[1:]:
            assert isinstance(error, SafeCrossEntropyError)
            assert error.cause == mistake
            assert error.findings[0].rank == rank
            assert f"rank {rank}" in str(error)


def test_an_activation_is_seen_where_parameters_may_go_unused():
    for ending in in_two_ranks(with_every_face, with_unused_parameters, "log-softmax-applied", (0, 1), "strict"):
        assert [getattr(error, "cause", None) for error in ending.value[1:]] == ["log-softmax-applied"] * len(GUARDED)


class TestAnErrorOfOneRank:
    """What the other one waits for does not come."""

    @pytest.mark.parametrize(
        "train, face, mistake",
        [
            (data_parallel, "a loss", "label-out-of-range"),
            (data_parallel, "installed", "label-out-of-range"),
            (data_parallel, "a loss", "softmax-applied"),  # native raises nothing
            (data_parallel, "guarded", "softmax-applied"),
            (tensor_parallel, "a loss", "ragged-batch"),
        ],
    )
    def test_ends_the_other_as_native_s_error_does(self, train, face, mistake):
        one, other = in_two_ranks(failing_at_first, train, face, mistake)
        assert one.error.cause == mistake
        assert one.error.findings[0].rank == 0
        assert kind(other.error) == kind(of_native(train)[1].error)

    def test_is_a_warning_of_that_rank_in_warn_mode(self):
        one, other = in_two_ranks(with_every_face, data_parallel, "softmax-applied", (0,), "warn")
        for ending in (one, other):
            native, *guarded = ending.value
            assert guarded == [native] * len(GUARDED)
        assert {warning.finding.rank for warning in one.warned} == {0}
        assert {"rank 0" in str(warning) for warning in one.warned} == {True}
        assert other.warned == []


def failing_at_first(rank, train, face, mistake):
    return train(rank, face, mistake if rank == 0 else None)


@cache
def of_native(train):
    """How two ranks end when native raises in the first."""
    one, other = in_two_ranks(failing_at_first, train, "native", "ragged-batch")
    assert type(one.error) is ValueError
    return one, other


def kind(error):
    return type(error), "gloo" in str(error)


def test_what_native_alone_says_of_distributed_logits_comes_out_as_it_is():
    for ending in in_two_ranks(with_every_face, tensor_parallel, "softmax-applied"):
        native, *guarded = ending.value
        assert "loss_parallel()" in str(native)
        assert [(type(error), str(error)) for error in guarded] == [(type(native), str(native))] * len(GUARDED)


class TestTheRank:
    @pytest.fixture(autouse=True)
    def no_launcher(self, monkeypatch):
        monkeypatch.delenv("RANK", raising=False)
        monkeypatch.delenv("WORLD_SIZE", raising=False)

    def error(self):
        with pytest.raises(SafeCrossEntropyError) as caught:
            SafeCrossEntropyLoss()(torch.randn(4, 3), torch.zeros(3).long())
        return caught.value

    def is_unsaid(self):
        error = self.error()
        return error.findings[0].rank is None and "rank" not in str(error)

    def test_is_not_said_without_a_group(self):
        assert self.is_unsaid()

    def test_is_not_said_in_a_group_of_one(self):
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        try:
            assert self.is_unsaid()
        finally:
            distributed.destroy_process_group()

    def test_is_the_launcher_s_before_there_is_a_group(self, monkeypatch):
        monkeypatch.setenv("RANK", "3")
        monkeypatch.setenv("WORLD_SIZE", "4")
        error = self.error()
        assert error.findings[0].rank == 3
        assert "rank 3" in str(error)

    @pytest.mark.parametrize("rank, processes", [("0", "1"), ("3", ""), ("", "4"), ("-1", "4"), ("x", "y")])
    def test_is_not_said_where_the_launcher_s_is_none(self, rank, processes, monkeypatch):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", processes)
        assert self.is_unsaid()
