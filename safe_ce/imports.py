"""Something to do as soon as a module has been imported, by whoever imports it."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType


class After:
    """A finder on ``sys.meta_path`` that acts once, after the import of one module."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self._name = name
        self._action = action

    def find_spec(self, name: str, path: Sequence[str] | None = None, _: ModuleType | None = None) -> ModuleSpec | None:
        """Find the module as Python itself would, and have its loader followed by the action."""
        if name != self._name:
            return None
        self.cancel()
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Followed(spec.loader, self._action)  # type: ignore[assignment]
        return spec

    def cancel(self) -> None:
        """Forget about it."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _Followed:
    """A loader that does something more once a module has been executed; in all else the loader that it is told."""

    def __init__(self, loader: Any, action: Callable[[], None]) -> None:
        self._loader = loader
        self._action = action

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._action()


def after_import(name: str, action: Callable[[], None]) -> After | None:
    """Act now if the module has been imported, else once it is. Returns what can be cancelled, if it is for later."""
    if name in sys.modules:
        action()
        return None
    finder = After(name, action)
    sys.meta_path.insert(0, finder)
    return finder
