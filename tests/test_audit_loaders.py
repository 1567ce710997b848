"""safe_ce.audit and the loader: which samples are named, what it leaves as it was, and what happens when it fails."""

from __future__ import annotations

import gc
import inspect
import io
import random
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from safe_ce import audit

X = torch.randn(64, 3)
Y = torch.arange(64) % 4
BAD = Y.clone()
BAD[[5, 41]] = -1
SET = TensorDataset(X, BAD)


class Backwards(Sampler):
    def __iter__(self):
        return iter(range(63, -1, -1))

    def __len__(self):
        return 64


class Columns(Dataset):
    """A data set of its own, whose samples depend on random numbers."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        noise = torch.rand(3) + random.random() + np.random.rand()  # noqa: NPY002 - what many data sets use
        return X[index] + noise.float(), BAD[index]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(SET)


class Failing(Dataset):
    """One sample cannot be read."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        if index == 41:
            raise OSError(f"sample {index} is truncated")
        return X[index], BAD[index]


def named(loader, **options):
    (finding,) = audit(loader, 4, **options).findings
    return {sample.index for sample in finding.samples}


class TestTheSamplesAreNamed:
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"shuffle": True},
            {"sampler": Backwards()},
            {"sampler": RandomSampler(SET, generator=torch.Generator().manual_seed(3))},
            {"sampler": SubsetRandomSampler([5, 1, 41, 7, 63])},
            {"shuffle": True, "drop_last": False, "generator": torch.Generator().manual_seed(3)},
        ],
    )
    def test_by_whatever_sampler(self, options, workers):
        loader = DataLoader(SET, batch_size=7, num_workers=workers, **options)
        assert named(loader) == {5, 41}

    def test_that_were_drawn_twice(self):
        sampler = WeightedRandomSampler((BAD == -1).float(), 20)
        assert named(DataLoader(SET, batch_size=4, sampler=sampler), batches=3) <= {5, 41}

    def test_by_workers_that_persist_and_have_not_begun(self):
        assert named(DataLoader(SET, batch_size=7, num_workers=1, persistent_workers=True, shuffle=True)) == {5, 41}

    def test_in_the_order_in_which_they_were_asked_for(self):
        finding = audit(DataLoader(SET, batch_size=7, sampler=Backwards()), 4).findings[0]
        assert [(sample.batch, sample.position, sample.index) for sample in finding.samples] == [(3, 1, 41), (8, 2, 5)]

    def test_with_a_word_of_caution_where_a_collate_function_may_sort_them(self):
        def collate(samples):
            return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])

        found = audit(DataLoader(SET, batch_size=8, collate_fn=collate), 4)
        assert [sample.index for sample in found.findings[0].samples] == [5, 41]
        caution = (
            "indices in the data set suppose that collate_fn keeps the samples in order, and in the first dimension"
        )
        assert found.notes == (caution,)
        fraction = TensorDataset(X, torch.arange(64.0) + 0.5 * (torch.arange(64) == 41))
        assert audit(DataLoader(fraction, batch_size=8, collate_fn=collate)).notes == (caution,)
        gray = TensorDataset(torch.zeros(8, 3, 8, 8), (torch.arange(8 * 64) % 256).view(8, 8, 8))
        assert audit(DataLoader(gray, batch_size=8, collate_fn=collate)).notes == ()

    def test_one_by_one(self):
        assert named(DataLoader(SET, batch_size=None)) == {5, 41}

    @pytest.mark.skipif(
        "in_order" not in inspect.signature(DataLoader).parameters, reason="before torch 2.6 all loaders are in order"
    )
    def test_not_where_workers_may_overtake_each_other(self):
        assert named(DataLoader(SET, batch_size=7, num_workers=2, in_order=False)) == {None}

    @pytest.mark.parametrize("workers", [0, 2])
    def test_not_of_a_stream(self, workers):
        assert named(DataLoader(Stream(), batch_size=7, num_workers=workers)) == {None}

    def test_not_where_some_were_left_out(self):
        def collate(samples):
            return torch.stack([x for x, _ in samples[1:]]), torch.stack([y for _, y in samples[1:]])

        assert named(DataLoader(SET, batch_size=8, collate_fn=collate)) == {None}

    def test_by_workers_of_its_own_while_those_that_persist_are_in_an_epoch(self):
        loader = DataLoader(SET, batch_size=7, num_workers=1, persistent_workers=True)
        iterator = iter(loader)
        first = next(iterator)[1].tolist()
        assert named(loader) == {5, 41}
        assert loader._iterator is iterator
        assert [first, *(y.tolist() for _, y in iterator)] == [y.tolist() for _, y in loader]

    def test_not_of_a_loader_with_an_iteration_of_its_own(self):
        class Skipping(DataLoader):
            def __iter__(self):
                batches = super().__iter__()
                next(batches)
                return batches

        assert named(Skipping(SET, batch_size=4)) == {None}


class TestNothingIsDisturbed:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_the_next_epoch_is_what_it_would_have_been(self, workers):
        def epoch(looked_at):
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002
            generator = torch.Generator().manual_seed(0)
            loader = DataLoader(Columns(), batch_size=7, shuffle=True, num_workers=workers, generator=generator)
            if looked_at:
                audit(loader, 4)
            batches = [(x.tolist(), y.tolist()) for x, y in loader]
            return batches, torch.rand(1).item(), random.random(), np.random.rand(), generator.get_state().tolist()  # noqa: NPY002

        assert epoch(looked_at=True) == epoch(looked_at=False)

    def test_the_generator_of_a_sampler_in_a_batch_sampler_is_as_it_was(self):
        generator = torch.Generator().manual_seed(0)
        sampler = BatchSampler(RandomSampler(SET, generator=generator), 7, drop_last=False)
        before = generator.get_state()
        audit(DataLoader(SET, batch_sampler=sampler), 4)
        assert torch.equal(generator.get_state(), before)

    def test_a_length_that_cannot_be_had_is_no_matter(self):
        class Lengthless(list):
            def __len__(self):
                raise RuntimeError("how many is not known")

        assert audit(Lengthless([(X, Y)]), 4).ok

    def test_a_loader_has_the_attributes_that_it_had(self):
        loader = DataLoader(SET, batch_size=7, shuffle=True, num_workers=1, persistent_workers=True)
        before = dict(vars(loader))
        audit(loader, 4)
        assert vars(loader) == before

    def test_a_stream_is_not_asked_for_its_length(self):
        class Sized(Stream):
            def __len__(self):
                return 3

        assert audit(DataLoader(Sized(), batch_size=7), 4).batches == 10

    def test_each_batch_is_asked_for_once(self):
        seen = []

        def batches():
            for at in range(5):
                seen.append(at)
                yield X, Y

        audit(batches(), 4, batches=3)
        assert seen == [0, 1, 2]


def tensor_bytes():
    """The memory of all tensors that are alive."""
    gc.collect()
    storages = {}
    for found in gc.get_objects():
        if issubclass(type(found), torch.Tensor):  # to ask others for their class may warn
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


class TestMemory:
    """Neither Python's objects nor tensors grow in number with the loader."""

    @pytest.fixture(autouse=True)
    def nothing_but_what_is_new(self):
        gc.collect()
        gc.freeze()  # what earlier tests have left is not looked at
        yield
        gc.unfreeze()

    def loaded(self, length, seen=lambda: None):
        for at in range(length):
            labels = torch.full((64,), -1 - at % 200)
            yield torch.full((64, 3), torch.nan), labels if at % 3 else labels.float()
        seen()

    def soft(self, length, seen=lambda: None):
        weights = torch.ones(8, 5, requires_grad=True)
        for _ in range(length):
            yield torch.zeros(8, 3), weights.softmax(1) * 2
        seen()

    def padded(self, length, seen=lambda: None):
        tokens = torch.arange(64).view(4, 16) % 50
        for at in range(length):
            yield tokens, tokens.masked_fill(tokens % 7 == at % 7, -100)
        seen()

    @pytest.mark.parametrize("batches", ["loaded", "soft", "padded"])
    def test_of_objects_is_constant(self, batches):
        def tidied(length):
            for at, batch in enumerate(getattr(self, batches)(length)):
                if not at % 100:
                    gc.collect()  # Python keeps thousands of freed tuples at hand until then
                yield batch

        def peak(length):
            tracemalloc.start()
            try:
                audit(tidied(length), 50)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        peak(10)
        assert peak(1200) < 1.2 * peak(300)

    @pytest.mark.parametrize("batches", ["loaded", "soft", "padded"])
    def test_of_tensors_is_constant(self, batches):
        def held(length):
            measured = []
            audit(getattr(self, batches)(length, lambda: measured.append(tensor_bytes())), 50)
            return measured[0]

        held(10)
        assert held(600) <= 1.1 * held(200)

    def test_a_batch_is_let_go_of_before_the_next_is_made(self):
        alive = []

        def batches():
            for _ in range(9):
                gc.collect()
                alive.append(sum(reference() is not None for reference in references))
                images = torch.zeros(8, 3)
                references.append(weakref.ref(images))
                yield images, Y[:8]
                del images

        references = []
        audit(batches(), 4)
        audit(batches(), model=lambda x: x.new_zeros(len(x), 4))
        assert alive == [0] * 18


def test_labels_that_are_counted_together_are_named_one_by_one():
    class Mixed(Sampler):
        """Asks for samples in lists and in tuples."""

        def __iter__(self):
            return (([0, 1, 2, 3], (4, 5, 6, 7))[at % 2] if at != 130 else [60, 61, 62, 41] for at in range(200))

        def __len__(self):
            return 200

    labels = Y.clone()
    labels[41] = -1
    loader = DataLoader(TensorDataset(X, labels), batch_sampler=Mixed())
    (finding,) = audit(loader, 4).findings
    assert [(sample.batch, sample.position, sample.index) for sample in finding.samples] == [(130, 3, 41)]
    assert sum(audit(loader, 4).counts) == 799


class TestAFailure:
    @pytest.mark.parametrize("workers", [0, 1])
    def test_of_the_loader_comes_out_with_the_batch_and_with_what_was_seen(self, workers):
        with pytest.raises(OSError, match="sample 41 is truncated") as caught:
            audit(DataLoader(Failing(), batch_size=7, num_workers=workers), 4)
        where, before = caught.value.__notes__
        assert where == "safe_ce.audit: in batch 5, counted from 0, of dataset[35:42]"
        assert before.startswith("what was seen: safe_ce.audit: the first 35 samples in 5 batches: 1 finding\n")
        assert "at: batch 0, position 5, dataset[5]: label -1" in before

    def test_in_the_first_batch_has_nothing_before_it(self):
        def batches():
            raise OSError("no such file")
            yield

        with pytest.raises(OSError, match="no such file") as caught:
            audit(batches(), 4)
        assert caught.value.__notes__ == ["safe_ce.audit: in batch 0, counted from 0"]

    def test_of_the_model_names_the_batch_that_it_was_given(self):
        def failing(inputs):
            raise OSError("no such layer")

        with pytest.raises(OSError, match="no such layer") as caught:
            audit(DataLoader(SET, batch_size=7, num_workers=1), 4, model=failing)
        assert caught.value.__notes__[0] == "safe_ce.audit: in batch 0, counted from 0, of dataset[0:7]"

    def test_leaves_the_random_state_as_it_was(self):
        before = torch.get_rng_state()
        with pytest.raises(OSError, match="truncated"):
            audit(DataLoader(Failing(), batch_size=7, shuffle=True), 4)
        assert torch.equal(torch.get_rng_state(), before)

    def test_is_no_end_where_it_is_ctrl_c(self):
        def batches():
            yield X, BAD
            raise KeyboardInterrupt

        found = audit(batches(), 4)
        assert found.interrupted
        assert not found.complete
        assert [finding.cause for finding in found.findings] == ["ignore-index-mismatch"]
        assert str(found).startswith("safe_ce.audit: stopped after 64 samples in 1 batch: 1 finding")

    def test_is_no_end_where_it_is_ctrl_c_at_once(self):
        def batches():
            raise KeyboardInterrupt
            yield

        found = audit(batches(), 4)
        assert found.ok
        assert str(found).startswith("safe_ce.audit: stopped after 0 samples in 0 batches: nothing wrong")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestProgress:
    def test_is_shown_on_a_terminal(self, monkeypatch):
        pytest.importorskip("tqdm")
        monkeypatch.setattr(sys, "stderr", Terminal())
        audit(DataLoader(SET, batch_size=7), 4)
        assert "safe_ce.audit" in sys.stderr.getvalue()
        assert "/10" in sys.stderr.getvalue()

    def test_is_silent_elsewhere(self, capsys):
        audit(DataLoader(SET, batch_size=7), 4)
        assert capsys.readouterr() == ("", "")

    def test_is_silent_without_tqdm(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setattr(sys, "stderr", Terminal())
        audit(DataLoader(SET, batch_size=7), 4)
        assert sys.stderr.getvalue() == ""
