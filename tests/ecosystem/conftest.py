"""Programs of other packages, as they are, under the guard. Each file is skipped where its package is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import safe_ce
from safe_ce import places
from tests.ecosystem.programs import GUARDS, seeded

OTHERS_WARNINGS = (
    # Torch's compiler imports what torch itself deprecates.
    r"ignore:`torch\.jit\.\w+` is deprecated:DeprecationWarning",
    # Torch's tracer reads the gradient of a tensor that is not a leaf, where warnings are errors with this one.
    r"ignore:The \.grad attribute of a Tensor that is not a leaf Tensor:UserWarning",
    # Accelerate 1.0 asks for what torch has deprecated since.
    r"ignore:`torch\.cpu\.amp\.autocast\(args\.\.\.\)` is deprecated:FutureWarning",
    # Lightning 2.6 asks for a class that torch 2.13 deprecates.
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",
    # Lightning's advice where a machine has more cores than the loaders of a test use.
    r"ignore:The '\w+_dataloader' does not have many workers:UserWarning",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in OTHERS_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True)
def nothing_is_left_of_other_tests():
    """What a package's code warned of, which is told once per place in it, and what of it was compiled."""
    places.forget()
    torch.compiler.reset()


@pytest.fixture(params=GUARDS)
def guarded(request):
    """Runs a sound program under a guard: what it returns."""

    def run(program):
        calls = safe_ce.stats().calls
        with GUARDS[request.param]():
            result = seeded(program)
        assert safe_ce.stats().calls > calls, "no call was guarded"
        return result

    return run
