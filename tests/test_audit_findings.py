"""safe_ce.audit: what it finds in a loader, and the samples that it names."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from safe_ce import SafeCrossEntropyError, audit
from tests.loaders import (
    MASKS,
    ONE_HOT,
    PALETTE,
    SOFT,
    TOKENS,
    X,
    Y,
    batches_of,
    changed,
    collated,
    loader,
    places,
    time_first,
)


@dataclass
class Broken:
    """A loader with a mistake: the audit, the cause, and the first places."""

    run: Any
    cause: str
    at: list[tuple[int, int | None, int | None]]


MIXED = [(X[:8], Y[:8]), (X[:8], Y[:8]), (X[8:16], Y[8:16])]


def with_one(other, first=None):
    """An audit of batches of which the second has another target."""
    usual = MIXED[0] if first is None else (X[:8], first)
    return audit([usual, (X[:8], other), usual], 5)


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
            loader(
                X,
                changed(Y, 42, -1),
                collate_fn=lambda samples: (collated(samples)[0], torch.stack([y for _, y in samples if y >= 0])),
            ),
            5,
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
    "colours, of how many classes is not known": Broken(
        lambda: audit(loader(X, PALETTE[MASKS].movedim(-1, 1), 100)), "color-mask-target", [(0, None, None)]
    ),
    "colours, with the channel last": Broken(
        lambda: audit(loader(X, PALETTE[MASKS], 100), 5), "color-mask-target", [(0, None, None)]
    ),
    "five pixels of one mask, and one of others": Broken(
        lambda: audit(loader(X, changed(changed(MASKS, (3, 2), -7), ([50, 60, 70], 2, 3), -7), 100), 5),
        "label-out-of-range",
        [(0, at, at) for at in (3, 50, 60, 70)],
    ),
    "labels of an unlabelled part, of how many classes is not known": Broken(
        lambda: audit(loader(X, Y * 0 - 1, 50)), "label-out-of-range", [(0, at, at) for at in range(5)]
    ),
    "a -1 beside a label beyond all counting": Broken(
        lambda: audit([(X[:4], torch.tensor([1, 7, -1, 2 * 10**6]))]), "ignore-index-mismatch", [(0, 2, None)]
    ),
    "float8 targets": Broken(
        lambda: audit([(X[:8], MASKS[:8].to(torch.float8_e4m3fn))], 5), "contract-broken", [(0, None, None)]
    ),
    "an infinity in a mask of floats": Broken(
        lambda: audit([(X[:8], changed(MASKS[:8].float(), (3, 2, 2), torch.inf))], 5),
        "float-index-target",
        [(0, 3, None)],
    ),
    "a gray mask in three channels": Broken(
        lambda: audit(loader(X, MASKS[:, None].expand(100, 3, 8, 8), 100), 5), "color-mask-target", [(0, None, None)]
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
    "a vocabulary's label beyond its end": Broken(
        lambda: audit(loader(TOKENS, changed(TOKENS, (42, 3), 50)), 50), "label-out-of-range", [(2, 10, 42)]
    ),
    "several labels of many classes, one of them 255": Broken(
        lambda: audit(
            loader(X.repeat(4, 1, 1, 1), changed(changed(torch.arange(400) % 100, 7, 150), 9, 255), 100), 100
        ),
        "label-out-of-range",
        [(0, 7, 7), (0, 9, 9)],
    ),
    "255 beside 150 classes in a mask": Broken(
        lambda: audit(loader(X, changed(torch.arange(6400).view(100, 8, 8) % 150, (33, 0, 0), 255)), 150),
        "ignore-index-mismatch",
        [(2, 1, 33)],
    ),
    "labels far beyond the classes": Broken(
        lambda: audit(loader(X, Y + 10**7, 2), 5, batches=2),
        "label-out-of-range",
        [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)],
    ),
    "a NaN among float labels": Broken(
        lambda: audit(loader(X, changed(Y.float(), 42, torch.nan), 50), 5),
        "float-index-target",
        [(0, 42, 42), (1, None, None)],
    ),
    "a missing dimension at the end": Broken(
        lambda: audit([*MIXED, (X[:1], Y[0])], 5), "target-missing-batch-dim", [(3, None, None)]
    ),
    "a step's id in a dimension of its own": Broken(
        lambda: audit([(torch.randn(4, 12, 8), TOKENS[:4, :, None])], 50), "target-extra-dim", [(0, None, None)]
    ),
    "a token's": Broken(lambda: audit([(TOKENS, TOKENS[..., None])], 50), "target-extra-dim", [(0, None, None)]),
    "a voxel's": Broken(
        lambda: audit([(torch.randn(2, 1, 4, 8, 8), MASKS[:8].view(2, 4, 8, 8, 1))], 5),
        "target-extra-dim",
        [(0, None, None)],
    ),
    "a NaN among float ids of tokens": Broken(
        lambda: audit(loader(TOKENS, changed(TOKENS.float(), (42, 3), torch.nan), 50)),
        "float-index-target",
        [(0, 42, 42), (1, None, None)],
    ),
    "percentages of pixels, of how many classes is not known": Broken(
        lambda: audit([(X[:8], X[:8].softmax(1) * 100)]), "regression-target", [(0, None, None)]
    ),
    "colours, scaled to 1": Broken(
        lambda: audit([(X[:8], PALETTE[MASKS[:8]].movedim(-1, 1) / 255)], 5), "color-mask-target", [(0, None, None)]
    ),
    "one label that is the number of classes, of many that start at 1": Broken(
        lambda: audit(loader(TOKENS, changed(TOKENS.clamp(min=1), (42, 3), 50)), 50),
        "label-out-of-range",
        [(2, 10, 42)],
    ),
    "a mask with its channel last": Broken(
        lambda: audit([(X[:8], MASKS[:8, ..., None])], 5), "target-extra-dim", [(0, None, None)]
    ),
    "float ids of positions": Broken(
        lambda: audit([(torch.randn(4, 5, 3), Y[:20].view(4, 5).float())], 5), "float-index-target", [(0, None, None)]
    ),
    "int32 ids of as many positions as classes": Broken(
        lambda: audit(loader(torch.randn(100, 5, 4), torch.cat([ONE_HOT[:50], 1 - ONE_HOT[:50]]).int(), 50), 5),
        "wrong-int-target",
        [(0, None, None), (1, None, None)],
    ),
    "one-hot integers, some rows of which are zeros": Broken(
        lambda: audit(loader(X, changed(ONE_HOT, slice(50, None), 0), 50), 5),
        "one-hot-target",
        [(0, None, None), (1, None, None)],
    ),
    "one-hot integers, the first of them a row of zeros": Broken(
        lambda: audit(loader(X, changed(ONE_HOT, 0, 0), 50)), "one-hot-target", [(0, None, None), (1, None, None)]
    ),
    "the same, of so many classes": Broken(
        lambda: audit(loader(X, changed(ONE_HOT, slice(0, 40), 0), 50), 5),
        "one-hot-target",
        [(0, None, None), (1, None, None)],
    ),
    "one-hot integers, and several ones in a row": Broken(
        lambda: audit(loader(X, changed(changed(ONE_HOT, (60, 0), 1), (60, 1), 1), 50)),
        "multi-hot-target",
        [(0, None, None), (1, None, None)],
    ),
    "multi-hot floats in every batch": Broken(
        lambda: audit(loader(X, (ONE_HOT | ONE_HOT.roll(1, 1)).float(), 50), 5),
        "multi-hot-target",
        [(0, at, at) for at in range(5)],
    ),
    "soft targets of other classes": Broken(lambda: audit([(X, SOFT)], 6), "contract-broken", [(0, None, None)]),
    "soft pixels of other classes": Broken(
        lambda: audit([(X[:8], torch.randn(8, 4, 8, 8).softmax(1))], 5), "contract-broken", [(0, None, None)]
    ),
    "a mask of bytes, 0 and 255": Broken(
        lambda: audit([(X[:2], changed(MASKS[:2] % 2 * 255, 1, 0).byte())], 2), "mask-not-class-ids", [(0, 0, None)]
    ),
    "a mask with its channel last, as its image": Broken(
        lambda: audit([(X[:8].movedim(1, -1), MASKS[:8, ..., None])], 5), "target-extra-dim", [(0, None, None)]
    ),
    "one label that is the number of classes, of few that occur": Broken(
        lambda: audit(loader(X, changed(Y % 3 + 1, 42, 100)), 100), "label-out-of-range", [(2, 10, 42)]
    ),
    "an input with NaN, the target before it": Broken(
        lambda: audit([(Y.int(), changed(X, 42, torch.nan))], 5, target=lambda batch: batch[0].long()),
        "logits-not-finite",
        [(0, 42, None)],
    ),
    "one, beside a target of another name": Broken(
        lambda: audit(
            [{"class_id": Y.int(), "feats": changed(X, 42, torch.nan)}],
            5,
            target=lambda batch: batch["class_id"].long(),
        ),
        "logits-not-finite",
        [(0, 42, None)],
    ),
    "soft pixels, classes last": Broken(
        lambda: audit([(X[:8], F.one_hot(MASKS[:8], 5) * 0.9 + 0.02)], 5), "contract-broken", [(0, None, None)]
    ),
    "one-hot float pixels, classes last": Broken(
        lambda: audit([(X[:8], F.one_hot(MASKS[:8], 5).float())], 5), "one-hot-target", [(0, None, None)]
    ),
    "a row of zeros": Broken(lambda: audit(loader(X, changed(SOFT, 42, 0)), 5), "target-not-normalized", [(2, 10, 42)]),
    "inputs and targets that are swapped": Broken(
        lambda: audit(loader(Y, X, 50), 5), "arguments-swapped", [(0, None, None), (1, None, None)]
    ),
    "a nested target": Broken(
        lambda: audit([(X[:2], torch.nested.nested_tensor([Y[:3], Y[:2]]))], 5), "unsupported-layout", [(0, None, None)]
    ),
    "a number": Broken(lambda: audit([(X[0], 3)], 5), "target-not-tensor", [(0, None, None)]),
    "one side short of features": Broken(
        lambda: audit([(X[:8, 0, 0], Y[:8]), (X[:7, 0, 0], Y[:8]), (X[:8, 0, 0], Y[:8])], 5),
        "ragged-batch",
        [(1, None, None)],
    ),
    "samples of a class left out on one side of all batches": Broken(
        lambda: audit(
            loader(
                X, Y, 50, collate_fn=lambda samples: (collated(samples)[0], torch.stack([y for _, y in samples if y]))
            ),
            5,
        ),
        "ragged-batch",
        [(0, None, None), (1, None, None)],
    ),
    "one side short of tokens, of as many as there are samples": Broken(
        lambda: audit([(TOKENS[:12], Y[:12])] * 3 + [(TOKENS[:11], Y[:12]), (TOKENS[:9], Y[:9])], 5),
        "ragged-batch",
        [(3, None, None)],
    ),
    "one-hot floats of other classes, as many as features": Broken(
        lambda: audit([(X[:, 0, 0, :5], ONE_HOT.float())], 6), "contract-broken", [(0, None, None)]
    ),
    "a list of images that is longer": Broken(
        lambda: audit(
            loader(
                X,
                Y,
                50,
                collate_fn=lambda samples: ([x for x, _ in samples], torch.stack([y for _, y in samples if y])),
            ),
            5,
        ),
        "ragged-batch",
        [(0, None, None), (1, None, None)],
    ),
    "signals of several lengths, and targets of one less": Broken(
        lambda: audit(
            loader(
                X,
                Y,
                50,
                collate_fn=lambda samples: (
                    [x[0, :, : 1 + at].flatten() for at, (x, _) in enumerate(samples)],
                    torch.stack([y for _, y in samples])[:-2],
                ),
            ),
            5,
        ),
        "ragged-batch",
        [(0, None, None), (1, None, None)],
    ),
    "one side short of images, of as many channels as samples": Broken(
        lambda: audit([(X[:3], Y[:3])] * 3 + [(X[:2], Y[:3])], 5), "ragged-batch", [(3, None, None)]
    ),
    "masks of another size in some of many batches": Broken(
        lambda: audit([(X[:8], MASKS[:8])] * 7 + [(X[:8], MASKS[:8, :6])] * 4, 5),
        "spatial-size-mismatch",
        [(at, None, None) for at in range(7, 11)],
    ),
    "a mask of another size in one batch": Broken(
        lambda: with_one(MASKS[:8, :6], first=MASKS[:8]), "spatial-size-mismatch", [(1, None, None)]
    ),
    "tags of fewer words in one batch": Broken(
        lambda: audit([(TOKENS[:8], TOKENS[:8, start:] % 4) for start in (0, 1, 0)], 4),
        "sequence-length-mismatch",
        [(1, None, None)],
    ),
    "an input with NaN, as an array of NumPy": Broken(
        lambda: audit([(changed(X, (42, 0), torch.nan).numpy(), Y)], 5), "logits-not-finite", [(0, 42, None)]
    ),
    "an input with NaN, time first": Broken(
        lambda: audit([(changed(torch.randn(30, 8, 4), (3, 7), torch.nan), Y[:8])], 5),
        "logits-not-finite",
        [(0, None, None)],
    ),
    "a label, time first": Broken(
        lambda: audit(loader(TOKENS, changed(TOKENS, (slice(42, 44), 3), 50), 16, collate_fn=time_first), 50),
        "label-out-of-range",
        [(2, None, None)],
    ),
    "a label, time first, of as many steps as samples": Broken(
        lambda: audit(
            DataLoader(
                TensorDataset(TOKENS, changed(TOKENS, (13, 3), 50)),
                batch_sampler=[range(5), range(5, 17), range(17, 28)],
                collate_fn=time_first,
            ),
            50,
        ),
        "label-out-of-range",
        [(1, None, None)],
    ),
    "an input with NaN, in a mapping": Broken(
        lambda: audit([({"image": changed(X, 42, torch.nan)}, Y)], 5), "logits-not-finite", [(0, 42, None)]
    ),
    "a NaN in a mask of floats": Broken(
        lambda: audit([(X[:8], changed((MASKS[:8, None] % 2).float(), (3, 0, 2, 2), torch.nan))], 2),
        "target-extra-dim",
        [(0, 3, None)],
    ),
    "an input with NaN, behind its number": Broken(
        lambda: audit([(torch.arange(100), changed(X, 42, torch.nan), Y)], 5, target=2),
        "logits-not-finite",
        [(0, 42, None)],
    ),
    "a list of single labels": Broken(lambda: audit([(X[:2], list(Y[:2]))], 5), "target-not-tensor", [(0, None, None)]),
    "a number of NumPy": Broken(lambda: audit([(X[0], np.int64(3))], 5), "target-not-tensor", [(0, None, None)]),
    "a number in an array": Broken(lambda: audit([(X[0], np.array(3))], 5), "target-not-tensor", [(0, None, None)]),
    "an input with NaN, in a list of them": Broken(
        lambda: audit([([X[0], changed(X[1], 0, torch.nan)], Y[:2])], 5), "logits-not-finite", [(0, None, None)]
    ),
    "one in a list of as many images as channels": Broken(
        lambda: audit([([changed(X[0], 1, torch.nan), X[1], X[2]], Y[:3])], 5), "logits-not-finite", [(0, None, None)]
    ),
    "floats in a late batch, with NaN": Broken(
        lambda: audit([(X[:8].byte(), Y[:8])] * 7 + [(X[:8] * torch.nan, Y[:8])], 5),
        "logits-not-finite",
        [(7, at, None) for at in range(5)],
    ),
    "NaN in what is masked out": Broken(
        lambda: audit([{"masked_image": changed(X, 42, torch.nan), "label": Y}], 5),
        "logits-not-finite",
        [(0, 42, None)],
    ),
    "a single weight": Broken(lambda: audit(loader(X, Y), weight=torch.ones(1)), "weight-length-mismatch", []),
    "soft targets and an ignore_index": Broken(
        lambda: audit(loader(X, SOFT, 100), 5, ignore_index=0), "invalid-option", [(0, None, None)]
    ),
    "too few weights": Broken(lambda: audit(loader(X, Y), 5, weight=torch.ones(4)), "weight-length-mismatch", []),
    "weights of another dtype": Broken(
        lambda: audit(loader(X, Y), weight=torch.ones(5).double()), "weight-wrong-dtype", []
    ),
    "integer weights": Broken(lambda: audit(loader(X, Y), weight=torch.ones(5).long()), "weight-wrong-dtype", []),
    "weights of 0": Broken(lambda: audit(loader(X, Y), weight=torch.zeros(5)), "weight-invalid", []),
    "a weight of NaN": Broken(
        lambda: audit(loader(X, Y), weight=torch.tensor([1, 1, 1, 1, torch.nan])), "weight-invalid", []
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
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


def test_what_is_raised_tells_all_of_both():
    with pytest.raises(SafeCrossEntropyError) as caught:
        audit(loader(changed(X, (5, 0), torch.nan), changed(Y, 42, -1)), 5).raise_if_broken()
    assert "dataset[42]: label -1" in str(caught.value)
    assert "dataset[5]: 64 of 192 values are NaN" in str(caught.value)
    assert "also" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


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


@pytest.mark.parametrize(
    "name", ["soft pixels, classes last", "soft targets of other classes", "inputs and targets that are swapped"]
)
def test_a_target_that_is_found_is_shown(name):
    (finding,) = BROKEN[name].run().findings
    (operand,) = finding.operands
    assert (operand.name, operand.kind) == ("target", "float32")
    assert operand.shape is not None


class TestAFinding:
    def test_of_several_labels_counts_them_all(self):
        finding = audit(loader(X, changed(changed(Y, 3, 8), 4, 9)), 5).findings[0]
        assert finding.summary == "labels 8, 9 are out of range for 5 classes, 0 to 4"
        assert "2 of 100 labels out of range" in finding.evidence

    def test_of_float_labels_names_those_that_are_no_ids(self):
        finding, others = audit(loader(X, changed(Y.float(), 42, 2.5)), 5).findings
        assert finding.cause == "regression-target"
        assert [str(sample) for sample in finding.samples] == ["batch 2, position 10, dataset[42]: label 2.5"]
        assert (others.cause, others.batches) == ("float-index-target", 6)

    def test_of_float_labels_names_those_that_are_too_large(self):
        (finding,) = audit(loader(X, changed(Y.float(), 42, 1e30)), 5).findings
        assert str(finding.samples[0]) == "batch 2, position 10, dataset[42]: label 1e+30"

    def test_of_float_labels_counts_the_classes_all_the_same(self):
        assert audit(loader(X, changed(Y.float(), 42, torch.nan)), 5).counts == (20, 20, 20, 20, 19)

    def test_of_few_rows_has_no_cure_for_all(self):
        few, all_ = (
            audit(loader(X, changed(SOFT, rows, SOFT[rows] * 3)), 5).findings[0]
            for rows in (slice(42, 43), slice(None))
        )
        assert (few.help, few.fix) == ("look at how these rows are made; the others are sound", None)
        assert all_.fix is not None

    def test_of_rows_of_two_kinds_names_both(self):
        finding = audit(loader(X, changed(changed(SOFT, 3, 0), 90, torch.nan)), 5).findings[0]
        assert finding.summary == "the soft targets hold NaN"
        assert [sample.seen for sample in finding.samples] == ["the row sums to 0", "NaN in the row"]

    def test_of_one_form_says_what_the_others_are(self):
        (finding,) = with_one(ONE_HOT[:8]).findings
        assert "other batches hold int64 (8,), batch 0 is the first" in finding.evidence

    def test_of_a_mask_with_nan_says_how_many_values_are(self):
        finding = BROKEN["a NaN in a mask of floats"].run().findings[0]
        assert finding.evidence[0] == "1 of 512 values is NaN"
        assert finding.evidence[1].startswith("of the others: ")
        assert finding.fix is None

    def test_of_rows_without_a_class_names_the_first(self):
        (finding,) = audit(loader(X, changed(ONE_HOT, slice(60, 63), 0), 50), 5).findings
        assert finding.evidence[:2] == (
            "97 of 100 rows are zeros and a single one",
            "3 rows without any class, the first: batch 1, position 10, dataset[60]",
        )
        assert finding.fix is None

    def test_of_labels_invents_no_number_of_classes(self):
        (finding,) = BROKEN["labels of an unlabelled part, of how many classes is not known"].run().findings
        assert finding.summary == "label -1 can be no class id"
        (finding,) = BROKEN["a -1 beside a label beyond all counting"].run().findings
        assert "all others are classes, 1 to 2000000" in finding.evidence

    def test_of_sizes_counts_the_batches_beyond_those_that_are_named(self):
        (finding,) = audit([(X[:8], MASKS[:8])] * 20 + [(X[:8], MASKS[:8, :6])] * 9, 5).findings
        assert (finding.batches, len(finding.samples)) == (9, 5)

    def test_of_nan_as_integers_says_so(self):
        (finding,) = audit(loader(X, changed(Y.float(), 42, torch.nan).long()), 5).findings
        assert finding.samples[0].seen == "label -9223372036854775808, which is what NaN becomes as an integer"

    def test_of_no_target_is_all_that_is_said(self):
        found = audit([(X[:8], None)], 5)
        assert [finding.summary for finding in found.findings] == ["the target is None, not a tensor"]
        assert found.notes == ()

    def test_of_names_cuts_those_that_are_long(self):
        (finding,) = audit([(X[:2], ["cat" * 40, "dog"])]).findings
        assert finding.evidence[0].startswith("the labels are names, such as 'catcatcatcat...tcatcatcatcat': map")

    def test_of_weights_says_what_they_are_held_against(self):
        (finding,) = BROKEN["weights of another dtype"].run().findings
        assert finding.summary == "the weight is float64, and the logits of such inputs are float32"

    def test_of_an_empty_batch_has_no_evidence_but_where(self):
        (finding,) = audit(batches_of(0), 5).findings
        assert finding.evidence == ("in the only batch",)

    def test_is_no_worse_for_many_kinds_of_targets(self):
        """Of more forms than are told apart each is counted, and the batches that are wrong are found."""
        batches = [(X[:2], torch.zeros(2, *[1] * (n % 40)).long()) for n in range(80)]
        (finding,) = audit(batches, 5).findings
        assert finding.batches == 76
        late = audit([*batches, (X[:2], [0, 1])], 5).findings[-1]
        assert (late.cause, places(late)) == ("target-not-tensor", [(80, None, None)])

    def test_of_what_is_ignored_says_the_share(self):
        found = audit(loader(X, changed(Y, slice(32, 48), -100)), 5)
        assert "  ignored  16 of 100 labels, 16.0%" in str(found).splitlines()
        assert [str(sample) for sample in found.findings[0].samples] == [
            "batch 2: nothing but -100 in the labels of dataset[32:48]"
        ]

    @pytest.mark.parametrize(("least", "most"), [(8, 9), (9, 16)])
    def test_of_rows_that_differ_needs_more_than_chance(self, least, most):
        """Without a sampler, pairs that differ by half and more are a layout, such as objects of an image."""
        batches = [(X[:least], Y[:most]), (X[: least + 1], Y[:most])]
        assert [finding.cause for finding in audit(batches, 5).findings] == ["ragged-batch"]
        assert audit([(X[:least], Y[: 2 * least]), (X[: least + 1], Y[: 3 * least])], 5).ok


def test_what_is_found_does_not_depend_on_the_default_device():
    with torch.device("meta"):
        assert audit([(X, Y)], 5).findings == ()
        (finding,) = audit([(X, changed(Y, 42, -1))], 5).findings
        (odd,) = audit([(X, changed(SOFT, 42, 0))], 5).findings
    assert (finding.samples[0].position, odd.samples[0].position) == (42, 42)
