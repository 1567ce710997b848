"""safe_ce.audit: what it says of a loader, and what it leaves unsaid."""

from __future__ import annotations

import json
from collections import UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

import safe_ce
from safe_ce import SafeCrossEntropyError, audit

X = torch.randn(100, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(100) * 7 % 5
MASKS = torch.arange(6400).reshape(100, 8, 8) * 3 % 5
TOKENS = torch.arange(1200).reshape(100, 12) * 11 % 50
SOFT = (torch.randn(100, 5, generator=torch.Generator().manual_seed(1)) * 2).softmax(1)
ONE_HOT = F.one_hot(Y, 5)


def loader(x, y, batch_size=16, **options):
    return DataLoader(TensorDataset(x, y), batch_size=batch_size, **options)


def changed(tensor, at, value):
    """A copy in which one entry is another."""
    tensor = tensor.clone()
    tensor[at] = value
    return tensor


def places(finding):
    return [(sample.batch, sample.position, sample.index) for sample in finding.samples]


def collated(samples):
    return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])


def batches_of(*sizes, x=X, y=Y):
    return [(x[:size], y[:size]) for size in sizes]


def token_batches(*lengths):
    return [{"input_ids": TOKENS[:4, :length], "labels": TOKENS[:4, :length]} for length in lengths]


SOUND = {
    "class ids": lambda: audit(loader(X, Y), 5),
    "class ids, of how many classes is not known": lambda: audit(loader(X, Y)),
    "shuffled": lambda: audit(loader(X, Y, shuffle=True), 5),
    "a list of batches": lambda: audit(list(loader(X, Y)), 5),
    "a generator": lambda: audit((batch for batch in loader(X, Y)), 5),
    "imbalanced classes": lambda: audit(loader(X, (torch.arange(100) == 50).long()), 2),
    "classes that never occur": lambda: audit(loader(X, Y % 2), 50),
    "a smaller last batch": lambda: audit(loader(X, Y, 48), 5),
    "uint8 ids": lambda: audit(loader(X, Y.byte()), 5),
    "ids of pixels": lambda: audit(loader(X, MASKS), 5),
    "binary masks": lambda: audit(loader(X, MASKS % 2), 2),
    "a void id that is ignored": lambda: audit(loader(X, changed(MASKS, (33, 2), 255)), 5, ignore_index=255),
    "256 gray levels as classes": lambda: audit(
        loader(X.repeat(3, 1, 1, 1), torch.arange(19200).view(300, 8, 8) % 256)
    ),
    "padding that is ignored": lambda: audit(loader(TOKENS, changed(TOKENS, (slice(None), slice(9, None)), -100)), 50),
    "padding by a class that is ignored": lambda: audit(
        loader(TOKENS, changed(TOKENS, (..., 9), 0)), 50, ignore_index=0
    ),
    "a language model's labels, shifted in the model": lambda: audit(token_batches(12, 12, 12)),
    "sequences of other lengths, one of them of length 1": lambda: audit(token_batches(5, 1, 7), 50),
    "the same, the first of length 1": lambda: audit([(torch.randn(4, t, 6), TOKENS[:4, :t]) for t in (1, 5, 7)], 50),
    "zeros and ones of several positions": lambda: audit(loader(torch.randn(100, 12, 4), TOKENS % 2), 2),
    "of as many positions as classes": lambda: audit(loader(torch.randn(100, 5, 4), ONE_HOT.roll(1, 0) * 2), 5),
    "zeros and ones, of as many positions as classes, in batches of one": lambda: audit(
        loader(torch.randn(100, 5, 4), torch.cat([ONE_HOT[:50], 1 - ONE_HOT[:50]]), 1), 5
    ),
    "class probabilities": lambda: audit(loader(X, SOFT), 5),
    "those of pixels": lambda: audit(loader(X, torch.randn(100, 5, 8, 8).softmax(1))),
    "a half-precision teacher's": lambda: audit(loader(X, SOFT.half()), 5),
    "mixup in some batches": lambda: audit([(X[:8], (ONE_HOT.float(), SOFT)[at % 3 == 2][:8]) for at in range(9)], 5),
    "mixup in some batches, and ids in the others": lambda: audit([(X[:8], Y[:8]), (X[:8], SOFT[:8])] * 3, 5),
    "one-hot batches that may be those of mixup": lambda: audit(loader(X, ONE_HOT.float()), 5, batches=3),
    "time first": lambda: audit([(torch.randn(30, 8, 4), Y[:8])] * 3, 5),
    "frames that were put into the batch": lambda: audit([(X[:32], Y[:8])] * 3, 5),
    "bags of words": lambda: audit(
        [{"text": torch.arange(61 + n), "offsets": Y[:8], "label": Y[:8]} for n in range(3)], 5
    ),
    "graphs": lambda: audit([{"x": torch.randn(61 + n, 5), "y": Y[:8]} for n in range(3)], 5),
    "a list of images of several sizes": lambda: audit([([X[0], X[0, :, :4]], Y[:2])] * 3, 5),
    "an attention mask of -inf": lambda: audit(
        [{"input_ids": TOKENS, "attention_mask": torch.full((100, 12), -torch.inf), "labels": TOKENS}], 50
    ),
    "batches of deliberately varying size": lambda: audit(
        DataLoader(TensorDataset(X, Y), batch_sampler=[[0, 1, 2], [3], list(range(4, 30)), [30, 31]]), 5
    ),
    "samples that are left out on both sides": lambda: audit(
        loader(X, Y, collate_fn=lambda samples: collated(samples[1:])), 5
    ),
    "a set without batches": lambda: audit(DataLoader(TensorDataset(X, Y), batch_size=None), 5),
    "class weights": lambda: audit(loader(X, Y), weight=torch.ones(5)),
    "a class of weight 0": lambda: audit(loader(X, Y), weight=torch.tensor([0.0, 1, 1, 1, 1])),
    "large finite inputs": lambda: audit(loader(torch.full((100, 4), 3e38), Y), 5),
    "integer inputs": lambda: audit(loader(X.long(), Y), 5),
    "no model yet, and its own number of classes": lambda: audit(loader(X, Y), 1000),
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_said_of(name):
    found = SOUND[name]()
    assert found.findings == ()
    assert found.ok
    found.raise_if_broken()


@dataclass
class Broken:
    """A loader with a mistake: the audit, the cause, and the first places."""

    run: Any
    cause: str
    at: list[tuple[int, int | None, int | None]]


MIXED = [(X[:8], Y[:8]), (X[:8], Y[:8]), (X[8:16], Y[8:16])]


def with_one(other, **options):
    """An audit of batches of which the second has another target."""
    return audit([MIXED[0], (X[:8], other), MIXED[2]], 5, **options)


BROKEN = {
    "a label out of range": Broken(lambda: audit(loader(X, changed(Y, 42, 8)), 5), "label-out-of-range", [(2, 10, 42)]),
    "a label beyond all counting": Broken(
        lambda: audit(loader(X, changed(Y, 42, 10**12))), "label-out-of-range", [(2, 10, 42)]
    ),
    "two bad labels": Broken(
        lambda: audit(loader(X, changed(changed(Y, 42, 8), 99, -3)), 5), "label-out-of-range", [(2, 10, 42), (6, 3, 99)]
    ),
    "a -1": Broken(lambda: audit(loader(X, changed(Y, 42, -1)), 5), "ignore-index-mismatch", [(2, 10, 42)]),
    "a -1, of how many classes is not known": Broken(
        lambda: audit(loader(X, changed(Y, 42, -1))), "ignore-index-mismatch", [(2, 10, 42)]
    ),
    "a -100 beside another ignore_index": Broken(
        lambda: audit(loader(X, changed(Y, 42, -100)), 5, ignore_index=-1), "ignore-index-mismatch", [(2, 10, 42)]
    ),
    "labels from 1": Broken(
        lambda: audit(loader(X, Y + 1, 4), 5),
        "labels-start-at-one",
        [(at // 4, at % 4, at) for at in (Y == 4).nonzero()[:5, 0].tolist()],
    ),
    "255 in a mask": Broken(
        lambda: audit(loader(X, changed(MASKS, (33, 2, 3), 255)), 5), "ignore-index-mismatch", [(2, 1, 33)]
    ),
    "255 in a mask, of how many classes is not known": Broken(
        lambda: audit(loader(X, changed(MASKS, (33, 2, 3), 255))), "ignore-index-mismatch", [(2, 1, 33)]
    ),
    "gray values": Broken(
        lambda: audit(loader(X, changed(MASKS * 0, (33, 2, 3), 255)), 2), "mask-not-class-ids", [(2, 1, 33)]
    ),
    "a batch that is ignored whole": Broken(
        lambda: audit(loader(X, changed(Y, slice(32, 48), -100)), 5), "all-targets-ignored", [(2, None, None)]
    ),
    "one that is, by a class": Broken(
        lambda: audit(loader(X, changed(Y, slice(32, 48), 0)), 5, ignore_index=0),
        "all-targets-ignored",
        [(2, None, None)],
    ),
    "an empty batch": Broken(lambda: audit(batches_of(8, 0, 8), 5), "empty-batch", [(1, None, None)]),
    "a batch without weight": Broken(
        lambda: audit(loader(X, changed(Y, slice(32, 48), 0)), weight=torch.tensor([0.0, 1, 1, 1, 1])),
        "weight-invalid",
        [(2, None, None)],
    ),
    "one side short in one batch": Broken(
        lambda: audit([MIXED[0], (X[:7], Y[:8]), MIXED[2]], 5), "ragged-batch", [(1, None, None)]
    ),
    "one side short in all batches": Broken(
        lambda: audit([(X[:8], Y[:7])] * 2, 5), "ragged-batch", [(0, None, None), (1, None, None)]
    ),
    "bad samples left out on one side": Broken(
        lambda: audit(
            loader(X, changed(Y, 42, -1), collate_fn=lambda samples: (collated(samples)[0], _without_bad(samples))), 5
        ),
        "ragged-batch",
        [(2, None, None)],
    ),
    "(N, 1) in one batch": Broken(lambda: with_one(Y[:8, None]), "target-extra-dim", [(1, None, None)]),
    "(N, 1) beside gray images": Broken(
        lambda: audit([(X[:8, :1], Y[:8, None])], 5), "target-extra-dim", [(0, None, None)]
    ),
    "int32 in one batch": Broken(lambda: with_one(Y[:8].int()), "wrong-int-target", [(1, None, None)]),
    "floats in one batch": Broken(lambda: with_one(Y[:8].float()), "float-index-target", [(1, None, None)]),
    "one-hot in one batch": Broken(lambda: with_one(ONE_HOT[:8]), "one-hot-target", [(1, None, None)]),
    "a float one-hot in one batch": Broken(lambda: with_one(ONE_HOT[:8].float()), "one-hot-target", [(1, None, None)]),
    "a list in one batch": Broken(lambda: with_one(Y[:8].tolist()), "target-not-tensor", [(1, None, None)]),
    "multi-hot in one batch": Broken(
        lambda: with_one(torch.tensor([[1, 1, 0, 0, 0]] * 8)), "multi-hot-target", [(1, None, None)]
    ),
    "other classes in one batch": Broken(
        lambda: audit([(X[:8], SOFT[:8]), (X[:8], SOFT[:8, :4].softmax(1))]), "contract-broken", [(1, None, None)]
    ),
    "one-hot integers": Broken(
        lambda: audit(loader(X, ONE_HOT, 50)), "one-hot-target", [(0, None, None), (1, None, None)]
    ),
    "one-hot pixels, classes last": Broken(
        lambda: audit(loader(X, F.one_hot(MASKS, 5), 100), 5), "one-hot-target", [(0, None, None)]
    ),
    "float one-hot to the end": Broken(
        lambda: audit(loader(X, ONE_HOT.float(), 50), 5), "one-hot-target", [(0, None, None), (1, None, None)]
    ),
    "names": Broken(lambda: audit([(X[:2], ["cat", "dog"])]), "target-not-tensor", [(0, None, None)]),
    "uint8 masks": Broken(lambda: audit(loader(X, MASKS.byte(), 100), 5), "wrong-int-target", [(0, None, None)]),
    "colours": Broken(
        lambda: audit(loader(X, torch.stack([MASKS, MASKS, MASKS * 0], 1) * 40, 100), 5),
        "color-mask-target",
        [(0, None, None)],
    ),
    "negative real numbers": Broken(
        lambda: audit(loader(X, SOFT[:, 0] * 30 - 9, 100)), "regression-target", [(0, None, None)]
    ),
    "real numbers": Broken(lambda: audit(loader(X, SOFT[:, 0] * 30, 100)), "regression-target", [(0, None, None)]),
    "a soft target with NaN": Broken(
        lambda: audit(loader(X, changed(SOFT, (42, 1), torch.nan)), 5), "target-not-normalized", [(2, 10, 42)]
    ),
    "a negative soft target": Broken(
        lambda: audit(loader(X, changed(SOFT, (42, 1), -0.5)), 5), "target-not-normalized", [(2, 10, 42)]
    ),
    "a soft target of percentages": Broken(
        lambda: audit(loader(X, changed(SOFT, 42, SOFT[42] * 100)), 5), "target-not-normalized", [(2, 10, 42)]
    ),
    "a soft pixel that is none": Broken(
        lambda: audit(loader(X, changed(F.one_hot(MASKS, 5).movedim(-1, 1) * 0.8 + 0.04, (42, 1, 2, 2), 3)), 5),
        "target-not-normalized",
        [(2, 10, 42)],
    ),
    "multi-hot floats": Broken(
        lambda: audit(loader(X, changed(ONE_HOT.float(), (42, slice(0, 2)), 1)), 5), "multi-hot-target", [(2, 10, 42)]
    ),
    "an input with NaN": Broken(
        lambda: audit(loader(changed(X, (42, 0, 3, 3), torch.nan), Y), 5), "logits-not-finite", [(2, 10, 42)]
    ),
    "an infinite half-precision input": Broken(
        lambda: audit(loader(changed(X.half(), (42, 0, 3, 3), torch.inf), Y), 5), "logits-not-finite", [(2, 10, 42)]
    ),
    "NaN in what the model reads first": Broken(
        lambda: audit([{"b": X[:8], "image": changed(X[:8], (3, 0), torch.nan), "label": Y[:8]}], 5),
        "logits-not-finite",
        [(0, 3, None)],
    ),
    "soft targets and an ignore_index": Broken(
        lambda: audit(loader(X, SOFT, 100), 5, ignore_index=0), "invalid-option", [(0, None, None)]
    ),
    "too few weights": Broken(lambda: audit(loader(X, Y), 5, weight=torch.ones(4)), "weight-length-mismatch", []),
    "weights of another dtype": Broken(
        lambda: audit(loader(X, Y), weight=torch.ones(5).double()), "weight-wrong-dtype", []
    ),
    "a weight of NaN": Broken(
        lambda: audit(loader(X, Y), weight=torch.tensor([1, 1, 1, 1, torch.nan])), "weight-invalid", []
    ),
}


def _without_bad(samples):
    return torch.stack([y for _, y in samples if y >= 0])


@pytest.mark.parametrize("name", BROKEN)
def test_it_finds(name):
    broken = BROKEN[name]
    found = broken.run()
    assert [finding.cause for finding in found.findings] == [broken.cause]
    assert not found.ok
    assert places(found.findings[0]) == broken.at
    assert found.findings[0].confidence != "possible"
    with pytest.raises(SafeCrossEntropyError) as caught:
        found.raise_if_broken()
    assert caught.value.findings == found.findings


def test_two_mistakes_are_two_findings_the_errors_first():
    found = audit(loader(changed(X, (5, 0), torch.nan), changed(Y, 42, -1)), 5)
    assert [finding.cause for finding in found.findings] == ["ignore-index-mismatch", "logits-not-finite"]


def test_a_finding_counts_the_labels_of_the_whole_loader():
    finding = audit(loader(X, changed(changed(Y, 42, -1), 77, -1)), 5).findings[0]
    assert "2 of 100 labels are -1, a usual void id" in finding.evidence
    assert "in 2 of 7 batches" in finding.evidence
    assert (finding.batches, finding.fix) == (2, "ignore_index = -1")
    assert str(finding.samples[1]) == "batch 4, position 13, dataset[77]: label -1"


def test_a_finding_names_five_samples_at_most_and_something_new_before_more_of_the_same():
    y = changed(changed(Y, slice(0, 50), -1), 90, 77)
    finding = audit(loader(X, y), 5).findings[0]
    assert len(finding.samples) == 5
    assert finding.samples[-1].index == 90


class TestNotes:
    def test_of_a_last_batch_of_one_sample(self):
        found = audit(loader(X, Y, 33), 5)
        assert found.ok
        assert found.last_batch == 1
        assert "the last batch, 3, has 1 sample: squeeze()" in found.notes[0]

    def test_not_of_one_that_was_not_the_last(self):
        assert audit(loader(X, Y, 33), 5, batches=3).notes == ()
        assert audit(loader(X, Y, 1), 5).notes == ()

    def test_of_batch_sizes_that_vary_in_the_middle(self):
        (note,) = audit(batches_of(8, 7, 8, 3), 5).notes
        assert note == (
            "the batches have 3 to 8 samples, not only at the end: batch 1: 7 samples, where the first has 8"
        )

    def test_of_samples_that_are_left_out_on_the_way(self):
        def collate(samples):
            return collated([sample for sample in samples if sample[1] >= 0])

        found = audit(loader(X, changed(Y, 42, -1), collate_fn=collate), 5)
        assert found.ok
        assert found.notes == (
            "1 of 7 batches have fewer samples than were asked for: batch 2: 15 of 16 samples of dataset[32:48];"
            " collate_fn or the data set leaves some out",
        )

    def test_of_targets_that_change(self):
        (note,) = audit([(X[:8], Y[:8]), (X[:8], SOFT[:8])], 5).notes
        assert note == "the targets change: int64 (8,) from batch 0, float32 (8, 5) from batch 1"

    def test_of_labels_from_1_where_the_number_of_classes_is_not_known(self):
        (note,) = audit(loader(X, Y + 1)).notes
        assert note.startswith("labels run from 1 to 5 and 0 never occurs")

    def test_of_rows_that_differ_by_layout(self):
        (note,) = audit([(X[:32], Y[:8])] * 3, 5).notes
        assert note.endswith("batch 0: 32 inputs, 8 targets")


class TestFacts:
    def test_count_the_classes(self):
        found = audit(loader(X, changed(Y, slice(0, 10), -100)), 6)
        assert found.counts == (*Y[10:].bincount().tolist(), 0)
        assert (found.labels, found.ignored, found.missing) == (100, 10, (5,))
        assert (found.batches, found.samples, found.batch_size, found.last_batch) == (7, 100, 16, 4)
        assert found.complete
        assert found.input == "float32 (16, 3, 8, 8)"
        assert found.targets == {"int64 (16,)": 7}

    @pytest.mark.parametrize("target", [Y, Y.int(), Y.byte(), Y.float(), Y[:, None], ONE_HOT, ONE_HOT.float()])
    def test_count_them_whatever_holds_them(self, target):
        assert audit(loader(X, target), 5).counts == tuple(Y.bincount().tolist())

    def test_add_up_class_probabilities(self):
        assert audit(loader(X, SOFT), 5).counts == pytest.approx(SOFT.double().sum(0).tolist())

    def test_give_weights_that_balance_the_classes_that_occur(self):
        found = audit(loader(X, (torch.arange(100) < 20).long()), 3)
        assert torch.equal(found.class_weights, torch.tensor([0.625, 2.5, 1.0]))
        assert audit(loader(X, Y), weight=torch.ones(5)).class_weights.dtype is torch.float32

    def test_end_with_the_largest_id_where_the_number_of_classes_is_not_known(self):
        found = audit(loader(X, Y))
        assert found.num_classes is None
        assert len(found.counts) == 5

    def test_read_the_number_of_classes_off_the_weight(self):
        assert audit(loader(X, Y), weight=torch.ones(7)).num_classes == 7

    def test_say_that_not_all_was_seen(self):
        found = audit(loader(X, Y), 5, batches=2)
        assert (found.batches, found.complete) == (2, False)


class Pair(NamedTuple):
    image: torch.Tensor
    label: torch.Tensor


@dataclass
class Batch:
    image: torch.Tensor
    y: torch.Tensor


class Attributes:
    """As a graph library's batches: with keys, and no mapping."""

    def __init__(self, **values):
        self._values = values

    def keys(self):
        return list(self._values)

    def __getitem__(self, key):
        return self._values[key]


BAD = changed(Y, 42, -1)


class TestBatches:
    @pytest.mark.parametrize(
        ("batch", "options"),
        [
            ((X, BAD), {}),
            ([X, BAD], {}),
            ({"image": X, "label": BAD}, {}),
            (UserDict(pixel_values=X, labels=BAD), {}),
            (Pair(X, BAD), {}),
            (Batch(X, BAD), {}),
            (Attributes(x=X, y=BAD), {}),
            (((X, X), BAD), {}),
            (({"image": X}, BAD), {}),
            ((BAD, X), {"target": 0}),
            ((X, X, BAD), {"target": 2}),
            ([X, X, BAD], {"target": -1}),
            ({"image": X, "mask": BAD}, {"target": "mask"}),
            ({"labels": Y, "label": BAD}, {"target": "label"}),
            (Pair(BAD, X), {"target": "image"}),
            (Pair(BAD, X), {"target": 0}),
            (Batch(X, BAD), {"target": -1}),
            ({"image": X, "annotation": {"id": BAD}}, {"target": lambda batch: batch["annotation"]["id"]}),
            ((X, BAD[:, None]), {"target": lambda batch: batch[1].squeeze(1)}),
            (object(), {"target": lambda batch: BAD}),
        ],
    )
    def test_of_many_kinds_are_read(self, batch, options):
        (finding,) = audit([batch], 5, **options).findings
        assert (finding.cause, finding.samples[0].position) == ("ignore-index-mismatch", 42)

    @pytest.mark.parametrize(
        "batch", [(X, Y, Y), {"image": X, "mask": MASKS}, {"labels": Y, "label": Y}, [X], {"a": X}, X, "batch"]
    )
    def test_of_which_the_target_is_not_clear_are_refused(self, batch):
        with pytest.raises(ValueError, match="target="):
            audit([batch], 5)

    def test_list_what_may_be_the_target(self):
        with pytest.raises(ValueError, match="pass target=") as caught:
            audit([{"image": X, "mask": MASKS, "name": ["a"] * 100}])
        assert str(caught.value) == (
            "which entry is the target is not clear; pass target=, one of 'image': float32 (100, 3, 8, 8); "
            "'mask': int64 (100, 8, 8); 'name': list of 100"
        )

    def test_that_lack_the_target_are_refused(self):
        with pytest.raises(ValueError, match="no entry 'y'") as caught:
            audit([{"x": X, "y": Y}, {"x": X}], 5)
        assert caught.value.__notes__[0] == "safe_ce.audit: in batch 1, counted from 0"

    @pytest.mark.parametrize(
        ("given", "options", "says"),
        [
            (TensorDataset(X, Y), {}, "a data set has samples and no batches"),
            ([], {}, "the loader gave no batch"),
            (loader(X, Y, 200, drop_last=True), {}, "drop_last"),
            (loader(X, Y), {"num_classes": 1}, "num_classes must be 2 or more"),
            (loader(X, Y), {"batches": 0}, "batches must be 1 or more"),
        ],
    )
    def test_that_are_none_are_refused(self, given, options, says):
        with pytest.raises(ValueError, match=says):
            audit(given, **options)

    def test_are_refused_with_options_that_the_loss_refuses(self):
        with pytest.raises(SafeCrossEntropyError) as caught:
            audit(loader(X, Y), weight=[1.0, 2.0])
        assert caught.value.cause == "weight-not-tensor"

    def test_may_fill_the_same_memory_again(self):
        images, labels = torch.zeros(8, 4), torch.zeros(8, dtype=torch.int64)

        def refilled():
            for at in range(40):
                labels.fill_(-1 if at == 20 else at % 5)
                yield images, labels

        found = audit(refilled(), 5)
        assert [sample.batch for sample in found.findings[0].samples] == [20] * 5
        assert found.counts == (56, 64, 64, 64, 64)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_loader_of_class_ids_is_sound_and_one_bad_label_is_named(data):
    size, batch_size = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 40))
    classes = data.draw(st.integers(2, 30))
    labels = torch.randint(classes, (size,), generator=torch.Generator().manual_seed(data.draw(st.integers(0, 999))))
    dtype = data.draw(st.sampled_from([torch.int64, torch.uint8]))
    shuffle = data.draw(st.booleans())
    inputs = torch.zeros(size, 3)
    assert audit(loader(inputs, labels.to(dtype), batch_size, shuffle=shuffle), classes).findings == ()
    at = data.draw(st.integers(0, size - 1))
    found = audit(loader(inputs, changed(labels, at, classes + 7).to(dtype), batch_size, shuffle=shuffle), classes)
    (sample,) = [sample for finding in found.findings for sample in finding.samples]
    assert sample.index == at
    assert found.counts == tuple(torch.cat([labels[:at], labels[at + 1 :]]).bincount(minlength=classes).tolist())


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_loader_of_class_probabilities_is_sound_and_one_bad_row_is_named(data):
    size, batch_size, classes = (data.draw(st.integers(*bounds)) for bounds in ((1, 100), (1, 20), (2, 12)))
    rows = (
        torch.randn(size, classes, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 999)))) * 3
    ).softmax(1)
    assert audit(loader(torch.zeros(size, 3), rows, batch_size), classes).findings == ()
    at = data.draw(st.integers(0, size - 1))
    (finding,) = audit(loader(torch.zeros(size, 3), changed(rows, at, rows[at] * 3), batch_size), classes).findings
    assert (finding.cause, [sample.index for sample in finding.samples]) == ("target-not-normalized", [at])


REPORTED = {
    "sound": lambda: audit(loader(X, Y), 5),
    "broken": lambda: audit(loader(changed(X, (5, 0), torch.nan), changed(Y, 42, -1), shuffle=True), 5),
    "many classes": lambda: audit(loader(TOKENS, changed(TOKENS, (..., 3), 7)), 300),
    "soft": lambda: audit(loader(X, changed(SOFT, (42, 1), torch.nan)), 5),
    "only ignored": lambda: audit(loader(X, Y * 0 - 100), 5),
    "names": lambda: audit([(X[:2], ["cat", "dog"])]),
}


class TestTheReport:
    @pytest.mark.parametrize("columns", [80, 120])
    @pytest.mark.parametrize("name", REPORTED)
    def test_fits_the_terminal(self, name, columns, monkeypatch):
        monkeypatch.setenv("COLUMNS", str(columns))
        report = str(REPORTED[name]())
        assert all(len(line) <= min(columns, 100) for line in report.splitlines())
        assert "?" not in report

    def test_says_first_whether_all_is_well(self):
        assert str(REPORTED["sound"]()).splitlines()[0] == "safe_ce.audit: 100 samples in 7 batches: nothing wrong"
        assert str(REPORTED["broken"]()).splitlines()[0] == "safe_ce.audit: 100 samples in 7 batches: 2 findings"

    def test_draws_the_classes(self):
        lines = str(audit(loader(X, (torch.arange(100) < 20).long()), 3)).splitlines()
        start = lines.index("  class  labels   share") + 1
        assert [line.rstrip("█▏▎▍▌▋▊▉") for line in lines[start : start + 3]] == [
            "      0      80   80.0%  ",
            "      1      20   20.0%  ",
            "      2       0    0.0%",
        ]
        assert lines[start].count("█") == 4 * lines[start + 1].count("█") > 0
        assert "  never    1 of 3 classes: 2" in lines

    def test_draws_them_in_ascii_where_the_terminal_has_nothing_else(self, monkeypatch):
        class Ascii:
            encoding = "ascii"

        found = audit(loader(X, Y), 5)
        monkeypatch.setattr("sys.stdout", Ascii)
        assert str(found).isascii()
        assert "####" in str(found)

    def test_shows_the_extremes_of_many_classes(self):
        report = str(REPORTED["many classes"]())
        assert "classes more, from the most frequent to the rarest" in report
        assert "never    250 of 300 classes: 50, 51, 52" in report
        assert len(report.splitlines()) < 40

    def test_ends_with_the_findings(self):
        assert str(REPORTED["broken"]()).endswith("  more: python -m safe_ce explain SCE108")

    def test_names_the_samples_below_each_other(self):
        lines = str(audit(loader(X, changed(changed(Y, 42, -1), 77, -1)), 5)).splitlines()
        at = lines.index("  at: batch 2, position 10, dataset[42]: label -1")
        assert lines[at + 1] == "      batch 4, position 13, dataset[77]: label -1"

    def test_is_in_the_error_too(self):
        with pytest.raises(SafeCrossEntropyError, match=r"at: batch 2, position 10, dataset\[42\]: label -1"):
            audit(loader(X, changed(Y, 42, -1)), 5).raise_if_broken()

    @pytest.mark.parametrize("name", REPORTED)
    def test_is_plain_data(self, name):
        found = REPORTED[name]()
        data = found.to_dict()
        again = json.loads(json.dumps(data))
        assert again["ok"] == found.ok
        assert [finding["cause"] for finding in again["findings"]] == [finding.cause for finding in found.findings]
        assert again["batches"] == found.batches
        assert again["counts"] == list(found.counts)

    def test_names_the_samples_in_plain_data(self):
        (finding,) = audit(loader(X, changed(Y, 42, -1)), 5).to_dict()["findings"]
        assert finding["samples"] == [{"batch": 2, "position": 10, "index": 42, "seen": "label -1"}]

    def test_plots(self):
        pytest.importorskip("matplotlib")
        figure = REPORTED["broken"]().plot()
        (axes,) = figure.axes
        assert [bar.get_height() for bar in axes.patches] == list(REPORTED["broken"]().counts)
        assert "[SCE211]" in axes.get_title(loc="left")

    def test_says_what_a_plot_needs(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
        with pytest.raises(ModuleNotFoundError, match=r"safe-ce\[audit\]"):
            REPORTED["sound"]().plot()


def test_public_names_are_exported():
    assert safe_ce.Audit is type(audit(loader(X, Y)))
    assert safe_ce.Sample is type(audit(loader(X, BAD)).findings[0].samples[0])
    assert safe_ce.Audit.__module__ == safe_ce.Sample.__module__ == "safe_ce"


def test_batch_samplers_of_other_kinds_name_the_samples():
    sampler = BatchSampler([99, 42, 3, 7], 2, drop_last=False)
    for options in ({"batch_sampler": sampler}, {"sampler": sampler, "batch_size": None}):
        (finding,) = audit(DataLoader(TensorDataset(X, BAD), **options), 5).findings
        assert places(finding) == [(0, 1, 42)]
