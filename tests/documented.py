"""Running the code that the catalogue's docstrings show."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from safe_ce import SafeCrossEntropyError, SafeCrossEntropyLoss


def code_of(section):
    return "\n".join(line.strip().removeprefix(">>> ") for line in section.splitlines() if ">>>" in line)


def documented_example(cause):
    """The code of a cause's example, and the same followed by the code of its fix."""
    example = code_of(cause.section("Example"))
    return example, example + "\n" + code_of(cause.section("Fix"))


def run_example(code):
    """The findings that strict mode raises for documented code: a call, or `criterion` for a construction."""
    torch.manual_seed(0)
    names = {"torch": torch, "nn": nn, "F": F, "SafeCrossEntropyLoss": SafeCrossEntropyLoss}
    from safe_ce import mode

    with mode("strict"):
        try:
            exec(code, names)
            if "criterion" in names:
                names["criterion"]()
            else:
                SafeCrossEntropyLoss(**names.get("kwargs", {}))(names["input"], names["target"])
        except SafeCrossEntropyError as error:
            return error.findings
    return ()
