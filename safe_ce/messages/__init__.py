"""What the errors of native say: text of a log -> the likely causes.

Whoever has only a log has one line of native's, and native's line has numbers. They stand for shapes, so a message is
turned into the calls that would raise it, and the diagnosis ranks what is wrong with those: what is known of a mistake
is said in the catalogue alone. Where a message has no shapes to tell, its rule names the causes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from safe_ce.call import Call
from safe_ce.causes import BY_NAME
from safe_ce.contract import broken_clause
from safe_ce.diagnosis import findings_of
from safe_ce.findings import Confidence, Finding
from safe_ce.messages.readings import Fits, Named, shape_of
from safe_ce.messages.rules import RULES
from safe_ce.messages.tells import TELLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safe_ce.messages.readings import Guess, Reading
    from safe_ce.messages.rules import Rule

MOST = 5
"""Causes that are listed: more would be no answer."""

TAIL = 2**18
"""Characters of a log that are read, from its end, where the error is."""

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
CLASS = re.compile(r"\b[\w.]{1,80}(?:Error|Exception): $")
LOSS = re.compile(r"cross_?entropy|nll_?loss|log_softmax|NLLCriterion", re.IGNORECASE)
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+")
ELSEWHERE = re.compile(
    r"in (?:method wrapper_|call to )(?!\S*(?:nll_loss|softmax|cross_entropy))\w"
    r"|Assertion [`'](?!(?:cur_target|t) >= 0 && |index out of bounds: )"
)
"""Where torch names the operation that raised, or the condition of its kernel, and it is no part of the loss."""

FAKE = (
    r"FakeTensor\(\.\.\.,(?: device='[^']*',)? size=\((?P<{0}>[\d, ]*)\)(?:, dtype=torch\.(?P<{0}_dtype>\w+))?[^()]*\)"
)
TRACED = re.compile(r"<function cross_entropy at [^>]*>\(\*\(" + FAKE.format("input") + ", " + FAKE.format("target"))
"""What `torch.compile` tells of a call that it could not trace: the shapes, which native does not."""

PRIMES = (97, 89, 83, 79, 73, 71, 67, 61, 59, 53)
"""Stand-ins for sizes that a message does not tell."""

SHARED = "other operations raise this as well: it is about the loss if the traceback ends in cross_entropy"
LATE = "other operations raise this as well, and late: with CUDA_LAUNCH_BLOCKING=1 the traceback ends where it happens"

FOLLOWING = 0.75
"""How much less likely each next finding of a guessed call is than the one before it."""


@dataclass(frozen=True)
class Explanation:
    """What a message means.

    Attributes:
        message: Native's own words.
        meaning: The fact in one line, with the message's own numbers.
        findings: The likely causes, best first.
        note: What else has to tell, where other operations raise the same; None where only the loss does.
    """

    message: str
    meaning: str
    findings: tuple[Finding, ...]
    note: str | None


def explained(log: str) -> Explanation | None:
    """What the error in a log means for the loss, or None where there is none that is known."""
    text = " ".join(ANSI.sub("", log[-TAIL:]).split())
    found = _found(text)
    if found is None:
        return None
    rule, match = found
    reading = rule.read(match)
    guesses = tuple(reading.guesses)
    traced = _traced(text)
    if traced is not None:
        guesses = (traced, *(replace(guess, odds=guess.odds / 2) for guess in guesses))
    note = (LATE if rule.late else SHARED) if rule.shared and not LOSS.search(text) else None
    kind = CLASS.search(text[max(match.start() - 100, 0) : match.start()])
    return Explanation((kind[0] if kind else "") + match[0], reading.meaning, _ranked(reading, guesses), note)


def _found(text: str) -> tuple[Rule, re.Match[str]] | None:
    """The rule that reads a text. What only the loss raises goes first, and of equals the last, which ended the run."""
    elsewhere = bool(ELSEWHERE.search(text))
    concerns = bool(LOSS.search(text)) or not TRACEBACK.search(text)
    best: tuple[tuple[bool, int], Rule, re.Match[str]] | None = None
    for rule in RULES:
        if rule.shared and (elsewhere or not (concerns or rule.late)):
            continue
        for match in re.finditer(rule.pattern, text):
            rank = (not rule.shared, match.start())
            if best is None or rank > best[0]:
                best = rank, rule, match
    return best and best[1:]


def _traced(text: str) -> Fits | None:
    found = TRACED.search(text)
    if found is None:
        return None
    dtypes = (found["input_dtype"] or "float32", found["target_dtype"] or "float32")
    return Fits(1.0, shape_of(found["input"]), shape_of(found["target"]), *dtypes)


def _ranked(reading: Reading, guesses: tuple[Guess, ...]) -> tuple[Finding, ...]:
    best: dict[str, tuple[float, Finding]] = {}
    for guess in guesses:
        found = [_named(guess, reading)] if isinstance(guess, Named) else list(_fitting(guess))
        for rank, finding in enumerate(found):
            odds = guess.odds * FOLLOWING**rank
            if finding.cause in TELLS and odds > best.get(finding.cause, (0.0,))[0]:
                best[finding.cause] = odds, finding
    ranked = sorted(best.values(), key=lambda entry: entry[0], reverse=True)[:MOST]
    # A line of text proves nothing of a call, and of several causes one is the best guess.
    return tuple(
        replace(finding, confidence=Confidence.POSSIBLE if rank else Confidence.LIKELY)
        for rank, (_, finding) in enumerate(ranked)
    )


def _named(guess: Named, reading: Reading) -> Finding:
    cause = BY_NAME[guess.cause]
    return Finding(
        code=cause.code,
        cause=cause.name,
        severity=cause.severity,
        confidence=Confidence.POSSIBLE,
        summary=reading.meaning,
        evidence=(),
        help=cause.remedy,
        fix=None,
        title=cause.title,
        remedy=cause.remedy,
    )


def _fitting(guess: Fits) -> Iterator[Finding]:
    """What the diagnosis finds in a call that would raise the message."""
    given = (*guess.input, *guess.target)
    known = [size for size in given if isinstance(size, int)]
    free = iter(prime for prime in PRIMES if all(size % prime for size in known if size))
    sizes: dict[int | str, int] = {}
    for name in dict.fromkeys(letter for size in given if isinstance(size, str) for letter in size):
        sizes[name] = next(free)

    def size_of(size: int | str) -> int:
        return size if isinstance(size, int) else math.prod(sizes[letter] for letter in size)

    tensors = []
    for shape, dtype in ((guess.input, guess.input_dtype), (guess.target, guess.target_dtype)):
        try:
            element = torch.zeros((), dtype=getattr(torch, dtype))
            tensors.append(element.expand(tuple(map(size_of, shape))))
        except (RuntimeError, OverflowError):
            return  # no tensor has such sizes: the numbers are noise
    input, target = tensors
    call = Call(input, target, values=False)
    if broken_clause(call) is None:
        return
    letters = {str(prime): str(name) for name, prime in sizes.items()}
    letters |= {str(size_of(size)): size for size in given if isinstance(size, str)}
    shapes = f"input {_written(guess.input)}, target {_written(guess.target)}"
    for finding in findings_of(replace(call, rejected=True)):
        yield replace(
            finding,
            summary=_lettered(finding.summary, letters),
            evidence=(shapes, *(_lettered(note, letters) for note in finding.evidence)),
            help=_lettered(finding.help, letters),
            # Statements with sizes that nobody gave would not run.
            fix=None if letters else finding.fix,
            operands=() if letters else finding.operands,
        )


def _written(shape: tuple[int | str, ...]) -> str:
    sizes = ", ".join("*".join(size) if isinstance(size, str) else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def _lettered(text: str, letters: dict[str, str]) -> str:
    return re.sub(
        r"\d+", lambda found: "*".join(letters.get(found[0], found[0])) if found[0] in letters else found[0], text
    )
