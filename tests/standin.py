"""A stand-in for an accelerator: CPU tensors whose values reach the host when the test says so."""

from __future__ import annotations

import torch


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
        self.work, self.host, self.done, self.waits = [], [], 0, 0
        self.ended = self.capturing = False

    def allocate(self, tensor):
        held = torch.zeros_like(tensor)
        self.host.append(held.untyped_storage())
        return held

    def copy(self, tensor, held):
        value = tensor.clone()
        self.work.append(lambda: held.copy_(value))

    def event(self, device):
        return Event(self, len(self.work))

    def is_capturing(self):
        return self.capturing

    def holds(self, tensor):
        """Whether a tensor's values are on the device."""
        memory = tensor.untyped_storage().data_ptr()
        return memory not in {held.data_ptr() for held in self.host} and bool(tensor.stride()) and max(tensor.stride())

    def run(self):
        """Let the device do all it was given."""
        for step in self.work[self.done :]:
            step()
        self.done = len(self.work)

    def end(self):
        """Let the device do all it was given, and then fail, as a label out of range makes it."""
        self.run()
        self.ended = True
