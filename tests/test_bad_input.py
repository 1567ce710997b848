"""Any object may arrive as input or target: each gets a finding or native's own error, never a fault of the guard."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss, diagnose

SCORES = torch.randn(4, 3)
IDS = torch.tensor([0, 1, 2, 0])


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Mapping(dict):
    """As the outputs of some libraries: every attribute is a key, and a missing one is a KeyError."""

    def __getattr__(self, name):
        return self[name]


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name):
        raise RuntimeError(name)


class Pair(NamedTuple):
    scores: torch.Tensor
    state: None


def objects():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sparse CSR and quantized tensors announce that they are beta, or old
        return _objects()


def _objects():
    return {
        "None": None,
        "an int": 3,
        "a float": 0.5,
        "a string": "cat",
        "an empty tuple": (),
        "a tuple of tensors": (SCORES, SCORES),
        "a named tuple": Pair(SCORES, None),
        "a list of ints": [0, 1, 2, 0],
        "a list of strings": ["cat", "dog", "cat", "cat"],
        "a list of tensors": [SCORES[0], SCORES[1], SCORES[2], SCORES[3]],
        "a ragged list of tensors": [SCORES[0], SCORES[1][:2]],
        "a dict": {"out": SCORES, "aux": SCORES},
        "an empty dict": {},
        "a mapping": Mapping(loss=None, logits=SCORES),
        "a dataclass": Output(SCORES),
        "a NumPy array": SCORES.numpy(),
        "a NumPy array of ids": IDS.numpy(),
        "a NumPy array of strings": np.array(["cat", "dog"]),
        "a NumPy scalar": np.float32(1.5),
        "a hostile object": Hostile(),
        "a class": Output,
        "a module": nn.Linear(2, 2),
        "a generator": (value for value in ()),
        "a 0-d tensor": torch.tensor(1.5),
        "a 0-d id": torch.tensor(1),
        "an empty tensor": torch.empty(0),
        "an empty matrix": torch.empty(0, 3),
        "no classes": torch.empty(4, 0),
        "complex": SCORES.to(torch.complex64),
        "bool": SCORES > 0,
        "uint8": torch.zeros(4, 3, dtype=torch.uint8),
        "uint16": torch.zeros(4, dtype=torch.uint16),
        "float8": SCORES.to(torch.float8_e4m3fn),
        "NaN": torch.full((4, 3), float("nan")),
        "infinite": torch.full((4,), float("inf")),
        "sparse": SCORES.to_sparse(),
        "sparse csr": SCORES.to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(SCORES, 0.1, 0, torch.qint8),
        "meta": torch.empty(4, 3, device="meta"),
        "six dimensions": torch.randn(1, 2, 1, 2, 1, 2),
        "expanded": torch.zeros(1, 1).expand(4, 3),
        "int64 at its ends": torch.tensor([-(2**63), 2**63 - 1, 0, 0]),
    }


pytestmark = pytest.mark.filterwarnings("ignore:.*")


def native(input, target):
    try:
        with torch.no_grad():
            return F.cross_entropy(input, target)
    except Exception as error:
        return error


def ours(mode, input, target):
    try:
        with torch.no_grad():
            return SafeCrossEntropyLoss(mode=mode)(input, target)
    except Exception as error:
        return error


def pairs():
    for name, value in objects().items():
        yield pytest.param(value, IDS, id=f"{name} as input")
        yield pytest.param(SCORES, value, id=f"{name} as target")
        yield pytest.param(value, value, id=f"{name} as both")


@pytest.mark.parametrize(("input", "target"), list(pairs()))
def test_any_object_as_input_or_target(input, target):
    expected = native(input, target)
    warned = ours("warn", input, target)
    if isinstance(expected, Exception):
        assert type(warned) is type(expected)
        assert str(warned) == str(expected)
        for mode in ("default", "strict"):
            error = ours(mode, input, target)
            assert isinstance(error, type(expected))
    else:
        assert type(warned) is type(expected)
        assert warned.is_meta or torch.equal(warned.nan_to_num(), expected.nan_to_num())
        for mode in ("default", "strict"):
            got = ours(mode, input, target)
            assert isinstance(got, (torch.Tensor, SafeCrossEntropyError))
    assert isinstance(diagnose(input, target), tuple)


@pytest.mark.parametrize(
    "value", [[1.0, 2.0, 3.0], np.ones(3), "w", 2, torch.ones(3).to_sparse(), torch.ones(3).bool()]
)
def test_any_object_as_weight(value):
    assert isinstance(diagnose(SCORES, IDS, weight=value), tuple)
    for mode in ("strict", "default", "warn"):
        try:
            SafeCrossEntropyLoss(weight=value, mode=mode)(SCORES, IDS)
        except Exception as error:
            assert isinstance(error, (TypeError, RuntimeError, ValueError))


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_nested_tensors_get_native_s_outcome(layout):
    nested = torch.nested.nested_tensor([torch.randn(2, 3), torch.randn(4, 3)], layout=layout)
    ids = torch.nested.nested_tensor([torch.zeros(2).long(), torch.zeros(4).long()], layout=layout)
    expected = native(nested, ids)
    for mode in ("strict", "default", "warn"):
        assert isinstance(ours(mode, nested, ids), type(expected))
    assert isinstance(diagnose(nested, ids), tuple)


def test_shapes_beyond_31_bits():
    huge = torch.empty(2**31 + 8, 2, device="meta")
    findings = diagnose(huge, torch.empty(2**31, dtype=torch.int64, device="meta"))
    assert findings[0].cause in ("ragged-batch", "sequence-length-mismatch")
    with pytest.raises(SafeCrossEntropyError):
        SafeCrossEntropyLoss()(huge, torch.empty(5, dtype=torch.int64, device="meta"))


LARGE = {
    "flattened rows": "torch.zeros(2**18, 1024), torch.zeros(2**18 - 3).long()",
    "classes last": "torch.zeros(64, 4096, 1024), torch.zeros(64, 4096).long()",
    "a one-hot of ids": "torch.zeros(2**14, 2**13), F.one_hot(torch.zeros(2**14).long(), 2**13)",
    "a large target": "torch.zeros(1, 3).expand(2**26, 3), torch.full((2**26,), 3)",
}

EXPLAIN = """
import resource, torch, torch.nn.functional as F
from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
try:  # what is imported late is imported now
    SafeCrossEntropyLoss(mode="strict")(torch.zeros(3, 2, 5), F.one_hot(torch.zeros(3, 2).long(), 5))
except SafeCrossEntropyError:
    pass
input, target = {build}
before = peak()
try:
    SafeCrossEntropyLoss(mode="strict")(input, target)
except SafeCrossEntropyError:
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of resident memory as Linux counts it")
@pytest.mark.parametrize("build", LARGE.values(), ids=LARGE)
def test_a_wrong_call_on_a_large_tensor_is_explained_in_pieces(build):
    done = subprocess.run(
        [sys.executable, "-c", EXPLAIN.format(build=build)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100, "MiB more than before"
