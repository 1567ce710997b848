"""Telling a fault from what a program's own signal handler raises, a timeout say, wherever the program is just then."""

from __future__ import annotations

import signal


def interrupts(error: BaseException) -> bool:
    """Whether a signal handler raised this."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False
