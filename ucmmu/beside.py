# SPDX-License-Identifier: GPL-2.0-or-later
"""What files of the user's import from their folder: each folder is a package of its own, in which
its files find each other by plain names. ``sys.path`` is left alone, and so are the modules that
everybody else has by such a name.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PACKAGE = "ucmmu_beside_"
"""The packages' names begin so, and end in a number."""
_OURS = ("cpu", "mmu", "ucmmu")


class _Folder:
    """``builtins`` are those of the files in it: import looks there first, also when a function of
    theirs is called later.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.package = f"{PACKAGE}{len(_folders)}"
        self.builtins: dict[str, Any] = {**vars(builtins), "__import__": self._import}
        made = sys.modules[self.package] = ModuleType(self.package)
        made.__path__ = [path]

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or not self._has(top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist or ())
        return found if fromlist else sys.modules[f"{self.package}.{top}"]

    def _has(self, top: str) -> bool:
        """Whether it has a module of that name; one that others have imported is theirs too."""
        if top in _OURS:
            return False
        inside = f"{self.package}.{top}"
        if inside in sys.modules:
            return True
        spec = PathFinder.find_spec(inside, [self.path])
        if spec is None:
            return False
        if spec.origin is None:  # a directory without __init__.py comes last
            return top not in sys.modules and find_spec(top) is None
        known = getattr(sys.modules.get(top), "__spec__", None)
        return known is None or known.origin != spec.origin


class _Loader(SourceFileLoader):
    """Executes a file with the builtins of its folder."""

    def __init__(self, folder: _Folder, name: str, path: str) -> None:
        super().__init__(name, path)
        self._folder = folder

    def exec_module(self, module: ModuleType) -> None:
        """See Loader."""
        vars(module)["__builtins__"] = self._folder.builtins
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Has the modules of the folders' packages loaded so."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See MetaPathFinder."""
        package = fullname.partition(".")[0]
        if not package.startswith(PACKAGE):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            folder = next(one for one in _folders.values() if one.package == package)
            spec.loader = _Loader(folder, fullname, spec.loader.path)
        return spec


_folders: dict[str, _Folder] = {}


def builtins_in(path: str) -> dict[str, Any]:
    """The builtins for files of the folder ``path``, which is absolute."""
    if not _folders:
        sys.meta_path.insert(0, _Finder())
    if path not in _folders:
        _folders[path] = _Folder(path)
    return _folders[path].builtins
