"""safe_ce.audit and batches: of what kinds they may be, and which entry is the target."""

from __future__ import annotations

import re
from collections import UserDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

from safe_ce import SafeCrossEntropyError, audit
from tests.loaders import MASKS, X, Y, changed, loader, places


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


SCORES = torch.ones(3, 5)
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

    def test_of_objects_in_images_say_how_their_labels_are_picked(self):
        objects = [{"boxes": torch.zeros(3, 4), "labels": Y[:3]}, {"boxes": torch.zeros(1, 4), "labels": Y[:1]}]
        with pytest.raises(ValueError, match=re.escape("torch.cat([each[...] for each in batch[1]])")):
            audit([(list(X[:2]), objects)], 5)
        found = audit(
            [(list(X[:2]), objects)], 5, target=lambda batch: torch.cat([each["labels"] for each in batch[1]])
        )
        assert found.labels == 4

    def test_of_many_entries_list_the_first(self):
        with pytest.raises(ValueError, match="target=") as caught:
            audit([{str(at): X for at in range(40)}])
        assert str(caught.value).endswith("'11': float32 (100, 3, 8, 8); ...")

    @pytest.mark.parametrize("sample", [(X[0], 3), (X[0], Y[0]), {"image": X[0], "label": Y[0]}, (X[0], "cat")])
    @pytest.mark.parametrize("size", [2, 4])
    def test_that_are_lists_of_samples_are_refused(self, sample, size):
        with pytest.raises(ValueError, match=f"a list of {size} samples"):
            audit([[sample] * size], 5)

    def test_of_two_dicts_are_no_samples_where_the_target_was_said(self):
        pair = ({"image": X, "size": 8}, {"label": Y, "size": 8})
        assert audit([pair], 5, target=lambda batch: batch[1]["label"]).ok
        with pytest.raises(ValueError, match=re.escape("lambda batch: batch[1][...]")):
            audit([pair], 5, target=1)

    def test_may_have_other_names_later(self):
        found = audit([{"image": X, "label": Y}] * 3 + [{"pixel_values": X, "label": Y}] * 3, 5)
        assert (found.samples, found.findings) == (600, ())

    def test_may_hold_arrays_that_torch_does_not_take(self):
        arrays = [X.numpy()[::-1], X.numpy().astype(">f4"), X.numpy().astype(np.longdouble)]
        for array in arrays:
            found = audit([{"image": X, "raw": array, "label": Y}], 5)
            assert (found.findings, found.notes) == ((), ())
        backwards = audit([(changed(X, 42, torch.nan).numpy()[::-1], Y)], 5)
        assert places(backwards.findings[0]) == [(0, 57, None)]

    def test_of_one_sample_count_one(self):
        for label in (3, np.int64(3), np.array(3), "cat", Y[0]):
            found = audit([(X[0], label)], 5)
            assert (found.samples, found.notes) == (1, ())

    def test_whose_labels_are_their_inputs_keep_them(self):
        found = audit([{"input_ids": MASKS[0], "labels": MASKS[0]}], 5, target=lambda batch: batch["labels"])
        assert found.input == "int64 (8, 8)"

    def test_that_are_empty_at_first_are_read_all_the_same(self):
        pairs = [(torch.zeros(0, 3, 8, 8), torch.zeros(0).int()), (X, Y.int())]
        found = audit(pairs, 5, target=lambda batch: batch[1].long(), model=lambda images: images.mean((2, 3)) @ SCORES)
        assert [finding.cause for finding in found.findings] == ["empty-batch"]

    def test_that_lack_the_target_are_refused(self):
        with pytest.raises(ValueError, match="no entry 'y'") as caught:
            audit([{"x": X, "y": Y}, {"x": X}], 5)
        assert caught.value.__notes__[0] == "safe_ce.audit: in batch 1, counted from 0"

    @pytest.mark.parametrize(
        ("given", "options", "says"),
        [
            (TensorDataset(X, Y), {}, "a data set has samples and no batches"),
            ([], {}, "the loader gave no batch"),
            ((loader(X, Y), loader(X, Y)), {}, "these are loaders"),
            ({"train": loader(X, Y)}, {}, "audit one of its values"),
            ([None, (X, Y)], {}, "leaves out the batch"),
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


def test_batch_samplers_of_other_kinds_name_the_samples():
    sampler = BatchSampler([99, 42, 3, 7], 2, drop_last=False)
    arrays = [np.array([99, 42]), torch.tensor([3, 7])]
    for options in ({"batch_sampler": arrays}, {"batch_sampler": sampler}, {"sampler": sampler, "batch_size": None}):
        (finding,) = audit(DataLoader(TensorDataset(X, BAD), **options), 5).findings
        assert places(finding) == [(0, 1, 42)]
