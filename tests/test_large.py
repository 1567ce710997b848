"""Training at scale, but for processes that train together: what stands between a model and its loss, and who shares it."""

from __future__ import annotations

import multiprocessing
import threading
import warnings

import pytest
import torch
from torch import nn
from torch._utils import ExceptionWrapper
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import safe_ce
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss
from tests.faces import GUARDED, facing, installed
from tests.saying import said

STEPS, ROWS, CLASSES = 8, 16, 4

every_face = pytest.mark.parametrize("face", GUARDED)


def batches(*shape, steps=STEPS):
    generator = torch.Generator().manual_seed(0)
    labels = (shape[0], *shape[2:])
    for _ in range(steps):
        yield torch.randn(shape, generator=generator), torch.randint(CLASSES, labels, generator=generator)


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def in_small_steps(criterion, head):
    """Gradients of four batches make a step."""
    model, losses = layers(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for number, (features, labels) in enumerate(batches(ROWS, 5), start=1):
        loss = criterion(head(model(features)), labels) / 4
        loss.backward()
        losses.append(loss.detach())
        if number % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
    return [*losses, *model.parameters()]


def in_bfloat16(criterion, head):
    model, losses = layers(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for features, labels in batches(ROWS, 5):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(features)
            assert logits.dtype is torch.bfloat16
            loss = criterion(head(logits), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return [*losses, *model.parameters()]


def with_channels_last(criterion, head):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 1))
    model = model.to(memory_format=torch.channels_last)
    losses = []
    for images, labels in batches(2, 3, 48, 48):
        logits = model(images.to(memory_format=torch.channels_last))
        assert not logits.is_contiguous()
        loss = criterion(head(logits), labels)
        loss.backward()
        losses.append(loss.detach())
    return [*losses, *(parameter.grad for parameter in model.parameters())]


class WithItsLoss(nn.Module):
    """A model that computes its loss itself, as those of language do."""

    def __init__(self, criterion, head):
        super().__init__()
        self.body, self.criterion, self.head = layers(), criterion, head

    def forward(self, features, labels):
        return self.criterion(self.head(self.body(features)), labels)


def computed_twice(criterion, head, *, reentrant):
    """What a checkpoint forgets in the forward pass is computed again in the backward pass, the loss too."""
    model, losses = WithItsLoss(criterion, head), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for features, labels in batches(ROWS, 5):
        optimizer.zero_grad()
        loss = checkpoint(model, features.requires_grad_(), labels, use_reentrant=reentrant)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return [*losses, *model.parameters()]


TRAININGS = {
    "accumulated": in_small_steps,
    "bfloat16": in_bfloat16,
    "channels last": with_channels_last,
    "checkpointed": lambda criterion, head: computed_twice(criterion, head, reentrant=False),
    "checkpointed, reentrant": lambda criterion, head: computed_twice(criterion, head, reentrant=True),
}


@every_face
@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.filterwarnings("ignore:`torch.cpu.amp.autocast:FutureWarning")  # torch 2.4's own checkpointing
def test_a_sound_training_is_native_s_bit_for_bit(name, face):
    before = safe_ce.stats()
    with facing(face) as criterion:
        found = TRAININGS[name](criterion, nn.Identity())
    with facing("native") as criterion:
        expected = TRAININGS[name](criterion, nn.Identity())
    assert all(map(torch.equal, found, expected))
    after = safe_ce.stats()
    assert after.calls >= before.calls + STEPS
    assert after.findings == before.findings


@every_face
@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.filterwarnings("ignore:`torch.cpu.amp.autocast:FutureWarning")  # torch 2.4's own checkpointing
def test_a_softmaxed_head_is_found(name, face):
    with facing(face) as criterion:
        error = raised(TRAININGS[name], criterion, nn.Softmax(1))
    assert error.cause == "softmax-applied"


@every_face
def test_classes_that_are_last_in_memory_and_in_the_shape_are_found(face):
    with facing(face) as criterion:
        error = raised(with_channels_last, criterion, lambda logits: logits.permute(0, 2, 3, 1))
    assert error.cause == "class-dim-last"


def raised(work, *arguments):
    """What a work raises, without its frames: up to torch 2.8 those of a checkpoint hold its hooks in force."""
    try:
        work(*arguments)
    except SafeCrossEntropyError as error:
        return error.with_traceback(None)
    raise AssertionError("nothing was raised")


SPOILT = {3: 1e36, 5: float("inf"), 6: float("nan")}
"""What features are multiplied by, by step. The first leaves the loss finite, until it is scaled."""


class TestALossThatIsScaled:
    """A batch whose gradient is not finite is one that the scaler skips: training goes on."""

    def trained(self, criterion):
        model, scaler, scales = layers(), torch.amp.GradScaler("cpu"), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step, (features, labels) in enumerate(batches(ROWS, 5)):
            optimizer.zero_grad()
            loss = criterion(model(features * SPOILT.get(step, 1)), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
        skipped = [step for step in range(1, STEPS) if scales[step] < scales[step - 1]]
        return list(model.parameters()), skipped

    @every_face
    @pytest.mark.parametrize("mode", ["default", "warn"])
    def test_is_warned_of_once(self, face, mode):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with safe_ce.mode(mode), facing(face) as criterion:
                parameters, skipped = self.trained(criterion)
        assert [warning.message.finding.cause for warning in caught] == ["logits-not-finite"]
        with facing("native") as criterion:
            expected, skipped_by_native = self.trained(criterion)
        assert skipped == skipped_by_native == list(SPOILT)
        assert all(map(torch.equal, parameters, expected))
        assert all(parameter.isfinite().all() for parameter in parameters)

    def test_is_an_error_in_strict_mode(self):
        error = raised(self.trained, SafeCrossEntropyLoss(mode="strict"))
        assert error.cause == "logits-not-finite"


THREADS, CALLS = 4, 60


def in_threads(*works):
    """What each work, in a thread of its own, returns or raises. They are handed a barrier."""
    outcomes, barrier = [None] * len(works), threading.Barrier(len(works), timeout=60)

    def run(number, work):
        try:
            outcomes[number] = work(barrier)
        except Exception as error:
            barrier.abort()
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=entry) for entry in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def softmaxed(rows=ROWS):
    return torch.randn(rows, CLASSES, requires_grad=True).softmax(1), torch.zeros(rows).long()


class TestThreads:
    """`nn.DataParallel` runs replicas of a model in threads, on devices that this machine may not have."""

    def replicas(self, criterion):
        return [criterion._replicate_for_data_parallel() for _ in range(THREADS)]

    def test_replicas_of_a_loss_have_one_memory(self):
        criterion = SafeCrossEntropyLoss()

        def work(replica):
            def train(barrier):
                barrier.wait()
                return [replica(torch.randn(ROWS, CLASSES), torch.zeros(ROWS).long()).item() for _ in range(CALLS)]

            return train

        losses = in_threads(*map(work, self.replicas(criterion)))
        assert [len(each) for each in losses] == [CALLS] * THREADS
        # Calls that are made at the very same time may be counted as one.
        assert CALLS <= criterion.stats().calls <= THREADS * CALLS
        assert criterion.stats().findings == {}

    def test_each_replica_hears_of_its_own_batch(self):
        def work(rows, replica):
            def train(barrier):
                barrier.wait()
                return [said(replica, torch.randn(rows, CLASSES), torch.zeros(rows + 1).long()) for _ in range(CALLS)]

            return train

        sizes = range(10, 10 + THREADS)
        for rows, errors in zip(
            sizes, in_threads(*map(work, sizes, self.replicas(SafeCrossEntropyLoss()))), strict=True
        ):
            assert {error.cause for error in errors} == {"ragged-batch"}
            assert {error.findings[0].operands[0].shape for error in errors} == {(rows, CLASSES)}

    def test_an_error_of_a_replica_is_raised_again_as_what_it_is(self):
        # So nn.DataParallel and the workers of a DataLoader do.
        for criterion in (nn.CrossEntropyLoss(), SafeCrossEntropyLoss()):
            try:
                criterion(torch.randn(4, 3), torch.zeros(5).long())
            except ValueError:
                raised = ExceptionWrapper(where="in replica 0 on device 0")
            with pytest.raises(ValueError, match="Expected input batch_size"):
                raised.reraise()

    def test_guarded_is_for_one_alone(self):
        criterion = nn.CrossEntropyLoss()

        def inside(barrier):
            with safe_ce.guarded():
                barrier.wait()  # both are where they say they are
                error = said(criterion, *softmaxed())
                barrier.wait()
            return error

        def outside(barrier):
            barrier.wait()
            found = said(criterion, *softmaxed())
            barrier.wait()
            return found

        one, other, another = in_threads(inside, outside, outside)
        assert one.cause == "softmax-applied"
        assert (other, another) == ([], [])

    def test_what_one_leaves_another_stays_in(self):
        criterion = nn.CrossEntropyLoss()

        def long(barrier):
            with safe_ce.guarded():
                barrier.wait()
                barrier.wait()
                return said(criterion, *softmaxed())

        def short(barrier):
            barrier.wait()
            with safe_ce.guarded():
                pass
            barrier.wait()
            return said(criterion, *softmaxed())

        one, other = in_threads(long, short)
        assert one.cause == "softmax-applied"
        assert other == []

    def test_install_is_for_all(self):
        criterion = nn.CrossEntropyLoss()

        def started_before(barrier):
            barrier.wait()
            barrier.wait()
            return said(criterion, *softmaxed())

        def installs(barrier):
            barrier.wait()
            safe_ce.install()
            barrier.wait()
            return said(criterion, *softmaxed())

        try:
            errors = in_threads(started_before, started_before, installs) + in_threads(
                lambda _: said(criterion, *softmaxed())
            )
        finally:
            safe_ce.uninstall()
        assert [error.cause for error in errors] == ["softmax-applied"] * 4
        assert in_threads(lambda _: said(criterion, *softmaxed())) == [[]]


forking = pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning")
every_start = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])


def in_a_process(method, work, *arguments):
    """What a work returns in a process of its own."""
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(sender, work, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        assert receiver.poll(120)
        return receiver.recv()
    finally:
        process.kill()
        process.join()


def send(sender, work, arguments):
    sender.send(work(*arguments))


def what_is_found(criterion):
    """What a loss says that was sent here, with its counts, and what native's says here."""
    return said(criterion, *softmaxed()), criterion.stats(), said(nn.CrossEntropyLoss(), *softmaxed())


class TestProcesses:
    @forking
    @every_start
    def test_a_loss_is_sent_and_each_side_counts_for_itself(self, method):
        criterion = SafeCrossEntropyLoss()
        error, stats, native_s = in_a_process(method, what_is_found, criterion)
        assert error.cause == "softmax-applied"
        assert (stats.calls, stats.findings) == (1, {"softmax-applied": 1})
        assert native_s == []
        assert criterion.stats().calls == 0

    @forking
    @every_start
    def test_what_is_installed_goes_where_memory_goes(self, method):
        with installed():
            native_s = in_a_process(method, what_is_found, SafeCrossEntropyLoss())[-1]
        if method == "fork":
            assert native_s.cause == "softmax-applied"
        else:
            assert native_s == []

    @forking
    def test_a_process_that_is_forked_while_guarded_is_guarded(self):
        with safe_ce.guarded():
            native_s = in_a_process("fork", what_is_found, SafeCrossEntropyLoss())[-1]
        assert native_s.cause == "softmax-applied"


@forking
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_workers_of_a_loader_are_left_alone(method):
    rows = TensorDataset(*next(batches(4 * ROWS, 5)))

    def trained(criterion, **workers):
        model, losses = layers(), []
        for features, labels in DataLoader(rows, batch_size=ROWS, **workers):
            loss = criterion(model(features), labels)
            loss.backward()
            losses.append(loss.detach())
        return losses

    expected = trained(nn.CrossEntropyLoss())
    with installed():
        for criterion in (nn.CrossEntropyLoss(), SafeCrossEntropyLoss()):
            found = trained(criterion, num_workers=2, multiprocessing_context=method)
            assert all(map(torch.equal, found, expected))
