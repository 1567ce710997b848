"""SCE401 to SCE408."""

import numpy as np
import torch
from torch import nn

from tests.catalogue.ingredients import INF, NAN, ids, scores
from tests.catalogue.spec import Spec


def soft(*shape):
    """Class probabilities."""
    return torch.randn(*shape).softmax(1)


def weighted(weight, input=None, target=None, **options):
    """A call on four samples of as many classes as the weight has, with class ids unless a target is given."""
    classes = len(weight)
    input = scores(4, classes) if input is None else input
    target = ids(4, classes=classes) if target is None else target
    return input, target, {"weight": weight if isinstance(weight, torch.Tensor) else torch.tensor(weight), **options}


SPECS = (
    Spec(
        "loss-class-called-as-function",
        fires={
            "logits and ids": lambda: (scores(4, 5), ids(4), {"weight": scores(4, 5), "size_average": ids(4)}),
            "one sample": lambda: (scores(1, 5), ids(1), {"weight": scores(1, 5), "size_average": ids(1)}),
            "an output that is no tensor": lambda: (
                scores(4, 5),
                ids(4),
                {"weight": (scores(4, 5),), "size_average": ids(4)},
            ),
            "soft targets": lambda: (scores(4, 5), soft(4, 5), {"weight": scores(4, 5), "size_average": soft(4, 5)}),
        },
        silent={
            "a sound call": lambda: (scores(4, 5), ids(4)),
            "a weight": lambda: weighted([1.0, 2.0, 3.0]),
            "arguments in the wrong order": lambda: (ids(4), scores(4, 5)),
        },
        mended=lambda: (scores(4, 5), ids(4)),
    ),
    Spec(
        "device-mismatch",
        fires={
            "the target stayed behind": lambda: (torch.empty(4, 5, device="meta"), ids(4)),
            "the logits stayed behind": lambda: (scores(4, 5), torch.empty(4, dtype=torch.int64, device="meta")),
            "the weight stayed behind": lambda: (
                torch.empty(4, 5, device="meta"),
                torch.empty(4, dtype=torch.int64, device="meta"),
                {"weight": torch.ones(5)},
            ),
            "target and weight stayed behind": lambda: (
                torch.empty(4, 5, device="meta"),
                ids(4),
                {"weight": torch.ones(5)},
            ),
            "the weight went ahead": lambda: (scores(4, 5), ids(4), {"weight": torch.ones(5, device="meta")}),
            "masks": lambda: (nn.Conv2d(3, 5, 1, device="meta")(torch.empty(2, 3, 4, 4, device="meta")), ids(2, 4, 4)),
        },
        silent={
            "one device": lambda: (scores(4, 5), ids(4)),
            "one device, without values": lambda: (
                torch.empty(4, 5, device="meta"),
                torch.empty(4, dtype=torch.int64, device="meta"),
            ),
            "a target that is no tensor": lambda: (scores(3, 5), [0, 1, 2]),
            "a weight of the wrong dtype": lambda: weighted(torch.ones(3).double()),
        },
        mended=lambda: (scores(4, 5), ids(4)),
    ),
    Spec(
        "weight-length-mismatch",
        fires={
            "too short": lambda: (scores(4, 10), ids(4), {"weight": torch.ones(8)}),
            "too long": lambda: (scores(4, 5), ids(4), {"weight": torch.ones(6)}),
            "one": lambda: (scores(4, 5), ids(4), {"weight": torch.ones(1)}),
            "0-d": lambda: (scores(4, 5), ids(4), {"weight": torch.tensor(2.0)}),
            "a row": lambda: (scores(4, 5), ids(4), {"weight": torch.ones(1, 5)}),
            "per sample": lambda: (scores(4, 5), ids(4), {"weight": torch.ones(4)}),
            "per pixel": lambda: (nn.Conv2d(3, 5, 1)(torch.randn(2, 3, 4, 4)), ids(2, 4, 4), {"weight": torch.ones(4)}),
            "unbatched": lambda: (scores(5), torch.tensor(1), {"weight": torch.ones(4)}),
        },
        silent={
            "one per class": lambda: weighted([1.0, 2.0, 3.0]),
            "one per class, soft targets": lambda: weighted([1.0, 2.0, 3.0], target=soft(4, 3)),
            "one per class, per pixel": lambda: (scores(2, 5, 4, 4), ids(2, 4, 4), {"weight": torch.ones(5)}),
            "another dtype": lambda: weighted(torch.ones(3).double()),
            "a list": lambda: (scores(4, 5), ids(4), {"weight": [1.0, 2.0]}),
        },
        mended=lambda: (scores(4, 10), ids(4), {"weight": torch.ones(10)}),
    ),
    Spec(
        "weight-wrong-dtype",
        fires={
            "float64": lambda: weighted(torch.ones(3).double()),
            "counts": lambda: weighted([1, 2, 3]),
            "half-precision logits": lambda: weighted([1.0, 2.0, 3.0], input=scores(4, 3, dtype=torch.bfloat16)),
            "per pixel": lambda: (
                nn.Conv2d(3, 5, 1)(torch.randn(2, 3, 4, 4)),
                ids(2, 4, 4),
                {"weight": torch.ones(5).half()},
            ),
            "booleans": lambda: weighted([True, False, True]),
        },
        silent={
            "the logits' dtype": lambda: weighted(torch.ones(3).double(), input=scores(4, 3).double()),
            "soft targets": lambda: weighted(torch.ones(3).double(), target=soft(4, 3)),
            "a stray dimension": lambda: weighted([1.0, 2.0, 3.0], target=ids(4, 1, classes=3)),
            "integer scores": lambda: (torch.randint(9, (4, 3)), ids(4, classes=3), {"weight": torch.ones(3)}),
        },
    ),
    Spec(
        "weight-not-tensor",
        fires={
            "a list": lambda: (scores(4, 2), ids(4, classes=2), {"weight": [0.2, 0.8]}),
            "a tuple of ints": lambda: (scores(4, 3), ids(4, classes=3), {"weight": (1, 2, 3)}),
            "a NumPy array": lambda: (scores(4, 3), ids(4, classes=3), {"weight": np.array([0.2, 0.3, 0.5])}),
        },
        silent={
            "a tensor": lambda: weighted([1.0, 2.0, 3.0]),
            "none": lambda: (scores(4, 5), ids(4)),
            "a tensor of the wrong length": lambda: (scores(4, 5), ids(4), {"weight": torch.ones(4)}),
        },
        beside={
            "a dict": lambda: (scores(4, 2), ids(4, classes=2), {"weight": {0: 0.2, 1: 0.8}}),
            "a number": lambda: (scores(4, 2), ids(4, classes=2), {"weight": 2.0}),
            "a list of strings": lambda: (scores(4, 2), ids(4, classes=2), {"weight": ["1", "2"]}),
        },
    ),
    Spec(
        "weight-invalid",
        fires={
            "NaN": lambda: weighted([1.0, NAN, 1.0]),
            "infinite": lambda: weighted([1.0, INF, 1.0]),
            "negative": lambda: weighted([1.0, -0.5, 1.0]),
            "NaN past many negative ones": lambda: weighted([-1.0] * 8 + [NAN]),
            "zero for all": lambda: weighted([0.0, 0.0, 0.0]),
            "zero for all that occur": lambda: weighted([0.0, 1.0, 1.0], target=torch.zeros(4, dtype=torch.int64)),
            "zero for all that occur but the ignored": lambda: weighted(
                [0.0, 1.0, 1.0],
                target=torch.tensor([0, 1, 0, 1]),
                ignore_index=1,
            ),
            "soft targets": lambda: weighted([1.0, NAN, 1.0], target=soft(4, 3)),
        },
        silent={
            "positive": lambda: weighted([0.2, 3.0, 1.0]),
            "zero for a class left out": lambda: weighted([0.0, 1.0, 1.0], target=torch.tensor([0, 1, 2, 0])),
            "zero for all that occur, summed": lambda: weighted(
                [0.0, 1.0, 1.0],
                target=torch.zeros(4, dtype=torch.int64),
                reduction="sum",
            ),
            "zero for all that occur, soft targets": lambda: weighted(
                [0.0, 1.0],
                target=torch.tensor([[1.0, 0.0]] * 4),
            ),
            "the wrong length": lambda: (scores(4, 5), ids(4), {"weight": torch.ones(4)}),
            "without values": lambda: (
                torch.empty(4, 5, device="meta"),
                torch.empty(4, dtype=torch.int64, device="meta"),
                {"weight": torch.empty(5, device="meta")},
            ),
        },
        mended=lambda: weighted([1.0, 2.0, 1.0]),
    ),
    Spec(
        "invalid-option",
        fires={
            "a reduction that is none": lambda: (scores(4, 5), ids(4), {"reduction": "average"}),
            "a reduction that is no string": lambda: (scores(4, 5), ids(4), {"reduction": None}),
            "label_smoothing in percent": lambda: (scores(4, 5), ids(4), {"label_smoothing": 10}),
            "label_smoothing below 0": lambda: (scores(4, 5), ids(4), {"label_smoothing": -0.1}),
            "label_smoothing NaN": lambda: (scores(4, 5), ids(4), {"label_smoothing": NAN}),
            "label_smoothing 1": lambda: (scores(4, 5), ids(4), {"label_smoothing": 1.0}),
            "label_smoothing None": lambda: (scores(4, 5), ids(4), {"label_smoothing": None}),
            "ignore_index None": lambda: (scores(4, 5), ids(4), {"ignore_index": None}),
            "ignore_index with soft targets": lambda: (scores(4, 5), soft(4, 5), {"ignore_index": 0}),
        },
        silent={
            "all of them": lambda: (
                scores(4, 5),
                ids(4),
                {"reduction": "sum", "label_smoothing": 0.1, "ignore_index": 0},
            ),
            "the deprecated name of mean": lambda: (scores(4, 5), ids(4), {"reduction": "elementwise_mean"}),
            "label_smoothing as an int": lambda: (scores(4, 5), ids(4), {"label_smoothing": 0}),
            "a negative ignore_index with soft targets": lambda: (scores(4, 5), soft(4, 5), {"ignore_index": -1}),
            "an ignore_index of NumPy": lambda: (scores(4, 5), ids(4), {"ignore_index": np.int64(3)}),
        },
        mended=lambda: (scores(4, 5), ids(4), {"reduction": "mean"}),
    ),
    Spec(
        "weight-requires-grad",
        fires={
            "a leaf": lambda: weighted(torch.ones(3, requires_grad=True)),
            "computed from parameters": lambda: weighted(nn.Linear(3, 3)(torch.ones(3)).exp()),
            "per pixel": lambda: (
                nn.Conv2d(3, 5, 1)(torch.randn(2, 3, 4, 4)),
                ids(2, 4, 4),
                {"weight": torch.ones(5, requires_grad=True)},
            ),
            "a parameter": lambda: weighted(nn.Parameter(torch.ones(3))),
        },
        silent={
            "detached": lambda: weighted(torch.ones(3, requires_grad=True).detach()),
            "soft targets": lambda: weighted(torch.ones(3, requires_grad=True), target=soft(4, 3)),
            "the wrong length": lambda: (scores(4, 5), ids(4), {"weight": torch.ones(4, requires_grad=True)}),
        },
    ),
)
