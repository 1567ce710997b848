"""What the tests of a package share: a program run from the same seeds, with and without the guard."""

from __future__ import annotations

import random
from functools import cache, partial

import numpy as np
import torch

import safe_ce
from tests.faces import installed

GUARDS = {"guarded, strict": partial(safe_ce.guarded, "strict"), "installed, default": installed}


def seeded(program):
    """What a program returns, from the same random numbers each time."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what some packages draw from
    torch.manual_seed(0)
    return program()


@cache
def digits():
    """Images of handwritten digits, (1797, 64) from 0 to 1, and which digit each shows, (1797,)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
