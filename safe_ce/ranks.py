"""Which process of a distributed run this is."""

from __future__ import annotations

import os
import sys


def rank() -> int | None:
    """The rank of this process, where there are several: the process group's, or what the launcher says of it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_rank()) if torch.distributed.get_world_size() > 1 else None
    number, processes = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    return int(number) if number.isdecimal() and processes.isdecimal() and int(processes) > 1 else None
