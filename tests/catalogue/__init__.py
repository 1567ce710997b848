"""The specification of every cause, in the files of the catalogue's own names."""

from importlib import import_module

from safe_ce.causes import MODULES

SPECS = tuple(
    spec for module in MODULES for spec in import_module(f"tests.catalogue.{module.__name__.split('.')[-1]}").SPECS
)
