"""What `test_liger` runs in a process of its own, where triton interprets its kernels: prints what it saw, as JSON."""

from __future__ import annotations

import json
import warnings

import torch
import torch.nn.functional as F
from liger_kernel.transformers import apply_liger_kernel_to_llama
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import safe_ce
from tests.ecosystem.programs import GUARDS, seeded

WORDS = 30
LLAMA = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
}
ROTARY_AND_NORMS = {"rope": False, "rms_norm": False, "swiglu": False}


def training(end=None, first=0):
    """A Llama that learns to repeat words, with labels counted from the first. Returns the losses and a gradient."""

    def program():
        model = LlamaForCausalLM(LlamaConfig(**LLAMA))
        if end is not None:
            model.lm_head = nn.Sequential(model.lm_head, end)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(3):
            ids = torch.randint(WORDS, (3, 6))
            loss = model(input_ids=ids, labels=ids + first).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, model.model.embed_tokens.weight.grad.tolist()

    return program


def under(guard, program):
    with guard():
        return seeded(program)


def said(program, mode="default"):
    """The cause that a program is stopped by, or else those that it is warned of."""
    safe_ce.places._memories.clear()
    with safe_ce.guarded(mode), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            seeded(program)
        except safe_ce.SafeCrossEntropyError as error:
            return error.cause
        except AssertionError as error:
            return [type(error).__name__, *error.__notes__]
    warned = [warning.message for warning in caught if isinstance(warning.message, safe_ce.SafeCrossEntropyWarning)]
    return [warning.finding.cause for warning in warned]


def main():
    native, logits = seeded(training()), torch.randn(4, 3)
    apply_liger_kernel_to_llama(cross_entropy=True, fused_linear_cross_entropy=False, **ROTARY_AND_NORMS)
    own, liger = F.cross_entropy, seeded(training())
    seen = {
        "native": native,
        "liger": liger,
        "guarded": {name: under(guard, training()) for name, guard in GUARDS.items()},
        "calls": safe_ce.stats().calls,
        "put back": F.cross_entropy is own,
        "softmax": said(training(nn.Softmax(-1))),
        "relu": said(training(nn.ReLU())),
        "labels": said(training(first=9)),
        "labels, warn": said(training(first=9), "warn"),
        "rows": said(lambda: F.cross_entropy(logits * 1, torch.tensor([0, 1, 2, 0, 1]))),
        "rows, warn": said(lambda: F.cross_entropy(logits * 1, torch.tensor([0, 1, 2, 0, 1])), "warn"),
    }
    F.cross_entropy = safe_ce.contract.original
    apply_liger_kernel_to_llama(cross_entropy=False, fused_linear_cross_entropy=True, **ROTARY_AND_NORMS)
    calls = safe_ce.stats().calls
    seen["fused"] = seeded(training())
    seen["fused, guarded"] = {name: under(guard, training()) for name, guard in GUARDS.items()}
    seen["fused, calls"] = safe_ce.stats().calls - calls
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
