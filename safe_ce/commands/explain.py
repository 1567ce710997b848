"""python -m safe_ce explain: the catalogue, one entry of it, or what an error message in a log means."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from safe_ce.commands import fields, print_json, refused
from safe_ce.report import labelled

if TYPE_CHECKING:
    import argparse

    from safe_ce.causes import Cause
    from safe_ce.messages import Explanation

CERTAINTY = (
    "the numbers of a message fit several mistakes. The guard sees the tensors and tells which it is: put"
    " safe_ce.SafeCrossEntropyLoss in place of nn.CrossEntropyLoss, and run with SAFE_CE_MODE=strict"
)


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "explain", help="print the catalogue of mistakes, one entry of it, or what an error message means"
    )
    parser.add_argument(
        "text",
        nargs="?",
        metavar="CODE, name or MESSAGE",
        help="such as SCE101, softmax-applied, or a pasted error message or log; - reads it from standard input",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print what was asked for, and return the exit status."""
    from safe_ce.causes import CATALOGUE

    if chosen.text is None:
        return _list(CATALOGUE, as_json=chosen.json)
    text = sys.stdin.buffer.read().decode(errors="replace") if chosen.text == "-" else chosen.text
    cause = _cause_in(text, CATALOGUE)
    if cause is not None:
        if chosen.json:
            print_json(_summary(cause) | {"help": cause.remedy, "sections": _sections(cause)})
        else:
            print(entry(cause, _width()))
        return 0
    from safe_ce import messages

    explanation = messages.explained(text)
    if explanation is None:
        shown = repr(textwrap.shorten(text, 60, placeholder=" ...") or text[:20])
        return refused(
            "explain",
            f"{shown} is neither a code, a cause nor a known message of the loss;"
            " python -m safe_ce explain lists the codes",
        )
    if chosen.json:
        print_json(_content(explanation))
    else:
        print(written(explanation, _width()))
    return 0


def _list(catalogue: tuple[Cause, ...], *, as_json: bool) -> int:
    if as_json:
        print_json({"causes": [_summary(cause) for cause in catalogue]})
        return 0
    names = max(len(cause.name) for cause in catalogue)
    for cause in catalogue:
        print(f"{cause.code}  {cause.name:<{names}}  {cause.severity:<7}  {cause.title}")
    return 0


def _cause_in(text: str, catalogue: tuple[Cause, ...]) -> Cause | None:
    """The cause that a text is the code or name of, or that the last report of the guard in it is about."""
    known = {key: cause for cause in catalogue for key in (cause.code.lower(), cause.name)}
    whole = known.get(text.strip().lower())
    if whole is not None:
        return whole
    reports = re.findall(r"SafeCrossEntropy(?:Error|Warning): \[(SCE\d{3})\]", text)
    codes = reports[-1:] or re.findall(r"\bSCE\d{3}\b", text)
    return known.get(codes[0].lower()) if codes else None


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 100)


def _summary(cause: Cause) -> dict[str, Any]:
    return {"code": cause.code, "cause": cause.name, "severity": cause.severity, "title": cause.title}


def _sections(cause: Cause) -> dict[str, str]:
    from safe_ce.causes import HEADINGS

    return {heading: cause.section(heading) for heading in HEADINGS}


def entry(cause: Cause, width: int) -> str:
    """One entry of the catalogue as text of at most ``width`` columns, but for code."""
    lines = [f"{cause.code} {cause.name} ({cause.severity})", cause.title]
    for heading, section in _sections(cause).items():
        lines += ["", heading]
        for paragraph in section.split("\n\n"):
            if paragraph.startswith(">>>"):
                lines += [f"    {line.removeprefix('>>> ')}" for line in paragraph.splitlines()]
            else:
                lines += textwrap.wrap(paragraph, width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def _content(explanation: Explanation) -> dict[str, Any]:
    from safe_ce.messages.tells import TELLS

    return {
        "message": explanation.message,
        "meaning": explanation.meaning,
        "note": explanation.note,
        "findings": [fields(finding) | {"tell": TELLS[finding.cause]} for finding in explanation.findings],
    }


def written(explanation: Explanation, width: int) -> str:
    """What a message means, as text of at most ``width`` columns, but for native's own words."""
    from safe_ce.messages.tells import TELLS

    lines = [*textwrap.wrap(explanation.meaning, width), f"  native: {explanation.message}"]
    if explanation.note is not None:
        lines += labelled("note", explanation.note, width)
    if not explanation.findings:
        return "\n".join(lines)
    lines += ["", "likely causes, best first"]
    for finding in explanation.findings:
        lines += ["", f"  {finding.code} {finding.cause}"]
        lines += textwrap.wrap(finding.title, width, initial_indent="    ", subsequent_indent="    ")
        if finding.evidence:
            lines.append(f"    shapes: {finding.evidence[0]}")
        lines += [f"  {line}" for line in labelled("tell", TELLS[finding.cause], width - 2)]
    first = explanation.findings[0]
    lines += ["", *labelled("help", first.help, width)]
    lines += labelled("note", CERTAINTY, width) if len(explanation.findings) > 1 else []
    lines.append(f"  more: python -m safe_ce explain {first.code}")
    return "\n".join(lines)
