"""python -m safe_ce diagnose: what is likely wrong with a call of which the shapes and dtypes are known."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safe_ce.commands import fields, print_json, refused

if TYPE_CHECKING:
    import argparse

    from torch import Tensor

DTYPES = (
    *("float16", "bfloat16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "bool", "complex64"),
)
ALIASES = {
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}
SCALAR = "scalar"
FORM = re.compile(r"(scalar|\d{1,18}(?:x\d{1,18})*)(?::(\w+))?")
ACCEPTED = "native accepts these shapes; values can still be wrong"


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "diagnose",
        help="say what is likely wrong with a call, from its shapes",
        epilog=f"SHAPE is sizes with x between them, such as 4x10, or {SCALAR} for a tensor without dimensions; DTYPE is"
        f" one of {', '.join(DTYPES)}.",
    )
    form = "SHAPE[:DTYPE]"
    parser.add_argument("--input", required=True, metavar=form, help="the logits; float32 unless a dtype is given")
    parser.add_argument("--target", required=True, metavar=form, help="the target; int64 unless a dtype is given")
    parser.add_argument("--weight", metavar=form, help="the class weights; of the logits' dtype unless one is given")
    parser.add_argument("--ignore-index", type=int, default=-100, metavar="N")
    parser.add_argument("--reduction", default="mean")
    parser.add_argument("--label-smoothing", type=float, default=0.0, metavar="P")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print what is likely wrong with the call, and return the exit status."""
    from safe_ce.call import Call
    from safe_ce.causes.cause import dtype_name
    from safe_ce.contract import broken_clause
    from safe_ce.diagnosis import findings_of, first_line, may_ask_native, native_error, tellable
    from safe_ce.report import render

    try:
        input = tensor("input", chosen.input, "float32")
        target = tensor("target", chosen.target, "int64")
        weight = None if chosen.weight is None else tensor("weight", chosen.weight, dtype_name(input))
    except ValueError as error:
        return refused("diagnose", str(error))
    options = (chosen.ignore_index, chosen.reduction, chosen.label_smoothing)
    call = Call(input, target, weight, *options, values=False)
    accepted = broken_clause(call) is None
    findings = findings_of(replace(call, rejected=not accepted))
    if accepted:
        findings = tellable(findings)
    failure = native_error(call) if not accepted and may_ask_native(call) else None
    native = None if failure is None else first_line(failure)
    if chosen.json:
        print_json({"accepted": accepted, "native": native, "findings": [fields(finding) for finding in findings]})
        return 0
    if accepted:
        print(ACCEPTED)
    if findings:
        print(render(findings, native))
    return 0


def tensor(name: str, text: str, dtype: str) -> Tensor:
    """A tensor without values of its own, of the shape and dtype that a text says.

    Raises:
        ValueError: The text says neither, or no tensor can have that shape.
    """
    import torch

    found = FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"--{name} is SHAPE[:DTYPE], such as 4x10, 4x10:float16 or {SCALAR}, not {text!r}")
    if found[2] is not None:
        dtype = ALIASES.get(found[2], found[2])
        if dtype not in DTYPES:
            raise ValueError(f"--{name} has no dtype {found[2]!r}; the dtypes are {', '.join(DTYPES)}")
    shape = () if found[1] == SCALAR else tuple(map(int, found[1].split("x")))
    try:
        return torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
    except RuntimeError:
        raise ValueError(f"--{name}: no tensor is as large as {found[1]}") from None
