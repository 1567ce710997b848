"""Something to do as soon as a module has been imported, by whoever imports it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class After:
    """A finder on ``sys.meta_path`` that acts once, after the import of one module."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self._name = name
        self._action = action

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module as the other finders would, and have its loader followed by the action."""
        if name != self._name:
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Followed(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def act(self) -> None:
        """Do what is to be done, once."""
        if self in sys.meta_path:
            self.cancel()
            self._action()

    def cancel(self) -> None:
        """Forget about it."""
        if sys.meta_path and self in sys.meta_path:  # there is none as the interpreter exits
            sys.meta_path.remove(self)


class _Followed:
    """A loader that does something more once a module has been executed; in all else the loader that it is told."""

    def __init__(self, loader: Any, after: After) -> None:
        self._loader = loader
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._after.act()


def after_import(name: str, action: Callable[[], None]) -> After | None:
    """Act now if the module has been imported, else once it is. Returns what can be cancelled, if it is for later."""
    if name in sys.modules:
        action()
        return None
    finder = After(name, action)
    sys.meta_path.insert(0, finder)
    return finder
