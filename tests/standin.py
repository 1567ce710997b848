"""A stand-in for an accelerator: CPU tensors whose values reach the host when the test says so."""

from __future__ import annotations

import torch

from safe_ce import deferred


class Event:
    def __init__(self, queue, at):
        self.queue, self.at = queue, at

    def query(self):
        if self.queue.ended:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return self.queue.done >= self.at

    def synchronize(self):
        if self.queue.ended:
            raise RuntimeError("CUDA error: device-side assert triggered")
        self.queue.waits += 1
        self.queue.run()


class Queue:
    """Runs what was enqueued when told to, in order, as a device's stream does."""

    def __init__(self):
        self.work, self.done, self.waits = [], 0, 0
        self.ended = self.capturing = False

    def send(self, tensor):
        held = torch.full_like(tensor, 0)
        if held.dtype is torch.int64 and held.numel():
            held.view(-1)[0] = deferred.NOT_YET
        value = tensor.clone()
        self.work.append(lambda: held.copy_(value))
        return held

    def event(self, device):
        return Event(self, len(self.work))

    def is_capturing(self):
        return self.capturing

    def run(self):
        """Let the device do all it was given."""
        for step in self.work[self.done :]:
            step()
        self.done = len(self.work)

    def end(self):
        """Let the device do all it was given, and then fail, as a label out of range makes it."""
        self.run()
        self.ended = True
