# SPDX-License-Identifier: GPL-2.0-or-later
"""A change of the kernel, in one small class, to put through the races.

::

    class D1(Variant):
        \"\"\"The table is published before its count is set.\"\"\"

        def install_new(self, mm, pmd, addr, table):
            held = self.pmd_install(mm, pmd, addr, table)
            self.pte_ref_init(mm, table, pmd, 1)
            return held

    class D3(Variant):
        \"\"\"The flush does not say that tables were freed.\"\"\"

        @replaces(mmu_gather)
        def flush_tlb_mm_range(mm, start, end, stride_shift, freed_tables):
            tlbflush.flush_tlb_mm_range(mm, start, end, stride_shift, 0)

A method takes the place of the policy's of that name (mmu.linux.free_tables), whichever policy it
is put upon; a function marked by replaces() that of the module, for all in mmu.linux who use it.
``ucmmu race --variant FILE.py:D1 fault-fault`` explores with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from mmu.errors import MmuError
from mmu.linux.free_tables import FreeTablesPolicy
from mmu.linux.policy import FreeTables
from ucmmu.testing.variants import Patches, applied

Function = Callable[..., Any]


@dataclass(frozen=True)
class _Replacement:
    """A function that takes the place of ``module.name`` under ``policies``."""

    module: ModuleType
    name: str
    function: Function
    policies: tuple[FreeTables, ...]


def replaces(
    module: ModuleType, *policies: FreeTables, name: str | None = None
) -> Callable[[Function], Any]:
    """The function below takes the place of the module's of the same name, or of ``name``, under
    these policies (none: under all).
    """

    def mark(function: Function) -> _Replacement:
        return _Replacement(
            module, name or function.__name__, function, policies or tuple(FreeTables)
        )

    return mark


if TYPE_CHECKING:
    _Policy = FreeTablesPolicy
else:
    _Policy = object


class Variant(_Policy):
    """A variant of the kernel: a subclass has methods of a policy, functions marked by replaces(),
    or both.

    ``policies`` are those that it is a variant of, ``scenarios`` names some in which it shows,
    ``models`` the memory models it shows in, and ``seen`` is a pattern of what exploration fails
    with; the docstring says what it is.
    """

    policies: ClassVar[tuple[FreeTables, ...]] = tuple(FreeTables)
    scenarios: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[tuple[str, ...]] = ("sc",)
    seen: ClassVar[str] = ""

    @classmethod
    def policy(cls, base: type[FreeTablesPolicy]) -> type[FreeTablesPolicy]:
        """The policy that it makes of another one."""
        return type(cls.__name__, (cls, base), {"label": base.label})

    @classmethod
    @contextmanager
    def applied(cls, policy: FreeTables) -> Iterator[None]:
        """``with``: its functions are in the place of ours. AttributeError: there is none such."""
        patches: Patches = {}
        for base in reversed(cls.__mro__):
            for value in vars(base).values():
                if isinstance(value, _Replacement) and policy in value.policies:
                    patches.setdefault(value.module, {})[value.name] = value.function
        with applied(patches):
            yield


_loaded: dict[str, type[Variant]] = {}


def load_variant(spec: str) -> type[Variant]:
    """The class that FILE.py:CLASS names; a file is loaded once. Raises MmuError with one line."""
    if spec not in _loaded:
        _loaded[spec] = _load(spec)
    return _loaded[spec]


def _load(spec: str) -> type[Variant]:
    place, colon, name = spec.rpartition(":")
    path = Path(place)
    if not colon or not name.isidentifier() or path.suffix != ".py":
        raise MmuError(f"{spec!r} is no variant: FILE.py:CLASS")
    if not path.is_file():
        raise MmuError(f"{place}: no such file")
    key = f"ucmmu_variant_{path.resolve().as_posix()}"
    module = sys.modules.get(key)
    if module is None:
        made = spec_from_file_location(key, path)
        assert made is not None and made.loader is not None
        module = sys.modules[key] = module_from_spec(made)
        try:
            made.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[key]
            raise MmuError(f"{place}: {type(error).__name__}: {error}") from None
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, Variant) or found is Variant:
        known = [n for n, v in vars(module).items() if _is_variant(v) and v is not Variant]
        hint = f"; it has {', '.join(known)}" if known else ""
        raise MmuError(f"{place} has no variant {name!r}{hint}")
    return found


def _is_variant(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Variant) and bool(value.__doc__)
