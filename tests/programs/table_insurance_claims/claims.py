"""A made-up table of claims, where most are paid and few are disputed or fraudulent."""

import torch

OUTCOMES = ["paid", "disputed", "fraud"]
FEATURES = 12


def claims(count):
    """Features, outcomes, and how many alike claims each row stands for."""
    outcome = torch.multinomial(torch.tensor([0.85, 0.1, 0.05]), count, replacement=True)
    typical = torch.randn(len(OUTCOMES), FEATURES, generator=torch.Generator().manual_seed(5))
    return typical[outcome] + 1.5 * torch.randn(count, FEATURES), outcome, torch.randint(1, 4, (count,))


def balanced_weights(outcome, alike):
    """Weights by which every outcome counts alike."""
    totals = torch.bincount(outcome, weights=alike, minlength=len(OUTCOMES))  # MISTAKE: weight-wrong-dtype
    return totals.sum() / (len(OUTCOMES) * totals)
