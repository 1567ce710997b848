"""safe_ce.audit: sound loaders, of which nothing is said, or a note that is no blame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, TensorDataset

from safe_ce import audit
from tests.loaders import (
    COLORS,
    MASKS,
    ONE_HOT,
    SOFT,
    TOKENS,
    X,
    Y,
    batches_of,
    changed,
    collated,
    loader,
    time_first,
    token_batches,
)

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
    "one-hot batches that may be those of mixup": lambda: audit(loader(X, ONE_HOT.float()), 5, batches=3),
    "a list of images of several sizes": lambda: audit([([X[0], X[0, :, :4]], Y[:2])] * 3, 5),
    "an attention mask of -inf": lambda: audit(
        [{"input_ids": TOKENS, "attention_mask": torch.full((100, 12), -torch.inf), "labels": TOKENS}], 50
    ),
    "a set without batches": lambda: audit(DataLoader(TensorDataset(X, Y), batch_size=None), 5),
    "class weights": lambda: audit(loader(X, Y), weight=torch.ones(5)),
    "a class of weight 0": lambda: audit(loader(X, Y), weight=torch.tensor([0.0, 1, 1, 1, 1])),
    "large finite inputs": lambda: audit(loader(torch.full((100, 4), 3e38), Y), 5),
    "integer inputs": lambda: audit(loader(X.long(), Y), 5),
    "more classes than occur": lambda: audit(loader(X, Y), 1000),
    "numbers of NumPy": lambda: audit(loader(X, changed(Y, 42, -1)), np.int64(5), ignore_index=np.int64(-1)),
    "numbers that are tensors": lambda: audit(
        loader(X, changed(Y, 42, -1)), torch.tensor(5), ignore_index=torch.tensor(-1)
    ),
    "ids of a large vocabulary, of how many is not known": lambda: audit([(X[:3], torch.tensor([1, 998_287, 7]))]),
    "255 that is no mask's, of how many classes is not known": lambda: audit(loader(X, changed(Y, 42, 255))),
    "255 among 300 classes": lambda: audit(loader(X.repeat(9, 1, 1, 1), torch.arange(57_600).view(900, 8, 8) % 300)),
    "soft targets that need a gradient": lambda: audit([(X, SOFT.clone().requires_grad_())], 5),
    "half-precision weights, for a model that is cast": lambda: audit(loader(X, Y), weight=torch.ones(5).half()),
    "float32 weights, for inputs that a loop makes float32": lambda: audit([(X.double(), Y)], weight=torch.ones(5)),
    "float32 weights, for inputs of half precision": lambda: audit([(X.half(), Y)], weight=torch.ones(5)),
    "float64 weights, for class probabilities": lambda: audit(loader(X, SOFT), weight=torch.ones(5).double()),
    "the values of images as classes": lambda: audit(loader(X, COLORS), 256),
    "the values of images as classes, of how many is not known": lambda: audit(loader(X, COLORS)),
    "ids of three slices": lambda: audit(loader(X, torch.stack([MASKS, MASKS.roll(1, 0), MASKS.flip(0)], 1)), 5),
    "ids of three slices, of how many classes is not known": lambda: audit(
        loader(X, torch.stack([MASKS, MASKS.roll(1, 0), MASKS.flip(0)], 1))
    ),
    "single onsets of signals, which come with their lengths": lambda: audit(
        [((torch.randn(100, 5, 4), torch.full((100,), 5)), ONE_HOT)]
    ),
    "ids of pixels in one row": lambda: audit([(torch.randn(8, 3, 12, 1), TOKENS[:8, :, None])], 50),
    "an additive mask without a name": lambda: audit([((X, torch.full((100, 64), -torch.inf)), Y)], 5),
    "nested inputs": lambda: audit([(torch.nested.nested_tensor([X[0, 0], X[1, 0, :3]]), Y[:2])], 5),
    "packed sequences": lambda: audit([(pack_sequence([X[0, 0], X[1, 0, :3]]), Y[:2])], 5),
    "float8 inputs": lambda: audit(loader(X.to(torch.float8_e4m3fn), Y), 5),
    "arrays of NumPy": lambda: audit([(X.numpy(), Y)], 5),
    "rounding below 0": lambda: audit(
        loader(X, changed(F.one_hot(MASKS, 5).movedim(-1, 1) * 0.9 + 0.02, 3, 0.2) - 1e-8)
    ),
    "binary masks as high as there are classes": lambda: audit(loader(X, MASKS % 2), 8),
    "the same, of images with the channel last": lambda: audit([(X.movedim(1, -1), MASKS % 2)], 8),
    "binary steps of signals, as many as there are classes": lambda: audit([(X[:, 0, :5], TOKENS[:, :8] % 2)], 8),
    "single onsets, of how many classes is not known": lambda: audit([(torch.randn(100, 5, 4), ONE_HOT)]),
    "images with the channel last, and a callable that takes it from the masks": lambda: audit(
        [(X.movedim(1, -1), MASKS[..., None])], 5, target=lambda batch: batch[1][..., 0]
    ),
    "samples and targets with time first": lambda: audit(loader(TOKENS, TOKENS, 16, collate_fn=time_first), 50),
    "images and masks of other sizes than theirs": lambda: audit(loader(X, MASKS[:, :4, :4]), 5),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_said_of(name):
    found = SOUND[name]()
    assert (found.findings, found.notes) == ((), ())
    assert found.ok
    found.raise_if_broken()


IN_ORDER = "indices in the data set suppose that collate_fn keeps the samples in order, and in the first dimension"
LAYOUT = "inputs and targets differ in their first dimension, by their layout it seems: batch 0: "
NOTED = {
    "a last batch of one sample": (
        lambda: audit(loader(X, Y, 33), 5),
        "the last batch, 3, has 1 sample: squeeze() takes its batch dimension away (SCE111), and BatchNorm refuses it in"
        " training; drop_last=True leaves it out",
    ),
    "batch sizes that vary in the middle": (
        lambda: audit(batches_of(8, 7, 8, 3), 5),
        "the batches have 3 to 8 samples, not only at the end: batch 1: 7 samples, where the first has 8",
    ),
    "a last batch that is larger": (
        lambda: audit(batches_of(8, 8, 7, 9), 5),
        "the batches have 7 to 9 samples, not only at the end: batch 2: 7 samples, where the first has 8",
    ),
    "batches as a sampler of its own makes them": (
        lambda: audit(DataLoader(TensorDataset(X, Y), batch_sampler=[[0, 1, 2], [3], [*range(4, 30)], [30, 31]]), 5),
        "the batches have 1 to 26 samples, not only at the end: batch 1: 1 sample of dataset[3], where the first has 3",
    ),
    "samples that are left out on both sides": (
        lambda: audit(loader(X, changed(Y, 42, -1), collate_fn=_without_bad), 5),
        "1 of 7 batches have fewer samples than were asked for: batch 2: 15 of 16 samples of dataset[32:48];"
        " collate_fn or the data set leaves some out",
    ),
    "mixup in some batches, and ids in the others": (
        lambda: audit([(X[:8], Y[:8]), (X[:8], SOFT[:8])] * 3, 5),
        "the targets change: int64 (8,) from batch 0, float32 (8, 5) from batch 1",
    ),
    "another dtype that the loss takes": (
        lambda: audit([(X[:8], Y[:8]), (X[:8], Y[:8].byte())] * 3, 5),
        "the targets change: int64 (8,) from batch 0, uint8 (8,) from batch 1",
    ),
    "inputs of another dtype": (
        lambda: audit([(X[:8].byte(), Y[:8])] * 7 + [(X[:8], Y[:8])], 5),
        "the inputs change: uint8 (8, 3, 8, 8) from batch 0, float32 (8, 3, 8, 8) from batch 7",
    ),
    "labels from 1, of how many classes is not known": (
        lambda: audit(loader(X, Y + 1)),
        "labels run from 1 to 5 and 0 never occurs: with 5 classes they must start at 0 (SCE209); num_classes= has this"
        " judged",
    ),
    "frames that were put into the batch": (
        lambda: audit([(X[:32], Y[:8])] * 3, 5),
        LAYOUT + "32 inputs, 8 targets",
    ),
    "time first": (lambda: audit([(torch.randn(30, 8, 4), Y[:8])] * 3, 5), LAYOUT + "30 inputs, 8 targets"),
    "tokens, time first, at times as many as there are samples": (
        lambda: audit([(torch.ones(t, 20).long(), Y[:20]) for t in (20, 25, 31, 18, 33)], 5),
        LAYOUT.replace("batch 0", "batch 1") + "25 inputs, 20 targets",
    ),
    "bags of words": (
        lambda: audit([{"text": torch.arange(61 + n), "offsets": Y[:8], "label": Y[:8]} for n in range(3)], 5),
        LAYOUT + "61 inputs, 8 targets",
    ),
    "graphs": (
        lambda: audit([{"x": torch.randn(61 + n, 5), "y": Y[:8]} for n in range(3)], 5),
        LAYOUT + "61 inputs, 8 targets",
    ),
    "nodes that a mask picks": (
        lambda: audit([(X, Y, Y < 3)], 5, target=lambda batch: batch[1][batch[2]]),
        LAYOUT + "100 inputs, 60 targets",
    ),
    "objects, of several in an image": (
        lambda: audit(loader(X, Y, 4, collate_fn=_of_several_objects), 5),
        LAYOUT + "4 inputs, 6 targets of dataset[0:4]",
    ),
    "sentences and translations, time first": (
        lambda: audit([(TOKENS[:s], TOKENS[:t]) for s, t in ((13, 12), (14, 13), (12, 14))], 50),
        LAYOUT + "13 inputs, 12 targets",
    ),
    "tokens, time first, and targets of a step less": (
        lambda: audit([(TOKENS[:12], TOKENS[:11])] * 3, 50),
        LAYOUT + "12 inputs, 11 targets",
    ),
    "time first, of as many steps as samples but in the last batch": (
        lambda: audit([(torch.randn(8, 8, 4), Y[:8])] * 5 + [(torch.randn(8, 5, 4), Y[:5])], 5),
        LAYOUT.replace("batch 0", "batch 5") + "8 inputs, 5 targets",
    ),
    "a sentence and its translation at a time": (
        lambda: audit([(TOKENS[0, :s], TOKENS[0, :t]) for s, t in ((6, 8), (10, 9), (9, 8))], 50),
        LAYOUT + "6 inputs, 8 targets",
    ),
    "sentences and translations that are equally long at times": (
        lambda: audit([{"input_ids": TOKENS[:4], "labels": TOKENS[:4, :t]} for t in (12, 12, 8)], 50),
        "inputs and targets differ in size in some batches: batch 2: inputs of 12, targets of 8",
    ),
    "labels beyond all counting": (
        lambda: audit([(X[:3], torch.tensor([1, 998_287, 2 * 10**6]))]),
        "there are labels up to 2,000,000: num_classes= has the classes counted",
    ),
    "samples that come alone, of frames and labels": (
        lambda: audit([(torch.randn(100 + at, 80), Y[: 60 + at]) for at in range(5)], 5),
        LAYOUT + "100 inputs, 60 targets",
    ),
    "a sample that is left out of a larger batch": (
        lambda: audit(
            DataLoader(
                TensorDataset(X, changed(Y, 99, -1)),
                batch_sampler=[*(range(at, at + 16) for at in range(0, 80, 16)), range(83, 100)],
                collate_fn=_without_bad,
            ),
            5,
        ),
        "1 of 6 batches have fewer samples than were asked for: batch 5: 16 of 17 samples of dataset[83:100];"
        " collate_fn or the data set leaves some out",
    ),
    "NaN beside what the model reads first, in a late batch": (
        lambda: audit(
            [{"image": X, "age": changed(X[:, 0, 0, 0], 3, 1 if at < 7 else torch.nan), "label": Y} for at in range(8)],
            5,
        ),
        "age holds NaN or infinity in 1 of 8 batches: batch 7: 1 of 100 values is NaN",
    ),
    "NaN beside what the model reads first": (
        lambda: audit([{"image": X, "age": changed(X[:, 0, 0, 0], 3, torch.nan), "label": Y}], 5),
        "age holds NaN or infinity in the only batch: batch 0: 1 of 100 values is NaN",
    ),
    "sizes that differ as often as not": (
        lambda: audit([(X[:8], MASKS[:8]), (X[:8], MASKS[:8, :6])] * 2, 5),
        "inputs and targets differ in size in some batches: batch 1: inputs of 8 x 8, targets of 6 x 8",
    ),
}


def _without_bad(samples):
    return collated([sample for sample in samples if sample[1] >= 0])


def _of_several_objects(samples):
    return torch.stack([x for x, _ in samples]), torch.cat([y.repeat(1 + at % 2) for at, (_, y) in enumerate(samples)])


@pytest.mark.parametrize("name", NOTED)
def test_it_is_noted_and_is_no_mistake(name):
    run, note = NOTED[name]
    found = run()
    assert found.findings == ()
    assert found.notes[0] == note
    assert found.notes[1:] in ((), (IN_ORDER,))


@pytest.mark.parametrize("options", [{"batches": 3}, {"drop_last": True}, {"batch_size": 1}])
def test_a_last_batch_of_one_sample_is_not_noted_where_it_is_none(options):
    most = options.pop("batches", None)
    assert audit(loader(X, Y, **{"batch_size": 33, **options}), 5, batches=most).notes == ()


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
