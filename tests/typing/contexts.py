"""mode and guarded are contexts that bind nothing, and decorators that leave a function's own type alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import safe_ce
from safe_ce import guarded, mode

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

with mode("strict") as nothing:
    assert_type(nothing, None)

with guarded() as nothing:
    assert_type(nothing, None)

with guarded("strict", probe="never", ignore=["SCE101"], on_finding=print):
    pass


def chosen(strictly: bool) -> AbstractContextManager[None]:
    return mode("strict") if strictly else guarded(None)


@mode("strict")
def validated(epoch: int, *, rate: float = 0.1) -> str:
    return f"{epoch} {rate}"


@guarded("strict")
def trained(epoch: int, *, rate: float = 0.1) -> str:
    return f"{epoch} {rate}"


assert_type(validated(1, rate=0.2), str)
assert_type(trained(1, rate=0.2), str)


class Trainer:
    @safe_ce.guarded()
    def step(self, epoch: int) -> tuple[Trainer, int]:
        return self, epoch


assert_type(Trainer().step(1), tuple[Trainer, int])
