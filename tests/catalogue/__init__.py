"""The specification of every cause."""

from tests.catalogue import activations

SPECS = (*activations.SPECS,)
