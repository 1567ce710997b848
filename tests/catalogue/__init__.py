"""The specification of every cause."""

from tests.catalogue import activations, labels, layout, logits, rows, setup, target

SPECS = tuple(spec for module in (activations, logits, labels, target, rows, layout, setup) for spec in module.SPECS)
