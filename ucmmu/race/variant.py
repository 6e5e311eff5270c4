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

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from mmu.errors import MmuError
from mmu.linux.free_tables import FreeTablesPolicy
from mmu.linux.policy import FreeTables
from ucmmu.policy_file import BadFile, python_file
from ucmmu.testing.variants import Patches, applied
from ucmmu.text import did_you_mean

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
    these policies (none: under all). AttributeError: there is none such.
    """

    def mark(function: Function) -> _Replacement:
        of = name or function.__name__
        if not callable(getattr(module, of, None)):
            known = [word for word, value in vars(module).items() if callable(value)]
            line = f"{module.__name__} has no function {of!r}{did_you_mean(of, known)}"
            raise AttributeError(line)
        return _Replacement(module, of, function, policies or tuple(FreeTables))

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
    def policy(
        cls, base: type[FreeTablesPolicy], called: set[str] | None = None
    ) -> type[FreeTablesPolicy]:
        """The policy that it makes of another one. ``called`` gets the names of its methods as they
        are called.
        """
        methods = {}
        for name in changed_by(cls):
            value = getattr(cls, name)
            if callable(value):
                methods[name] = _noted(name, value, called)
            elif called is not None:
                called.add(name)
        return type(cls.__name__, (cls, base), {**methods, "label": base.label})

    @classmethod
    @contextmanager
    def applied(cls, policy: FreeTables, called: set[str] | None = None) -> Iterator[None]:
        """``with``: its functions are in the place of ours. ``called`` gets the names of those that
        are called.
        """
        patches: Patches = {}
        for value in _replacements(cls):
            if policy in value.policies:
                function = _noted(value.name, value.function, called)
                patches.setdefault(value.module, {})[value.name] = function
        with applied(patches):
            yield


def _noted(name: str, function: Function, called: set[str] | None) -> Function:
    """The function, whose calls are noted."""
    if called is None:
        return function

    @wraps(function)
    def noted(*args: Any, **kwargs: Any) -> Any:
        called.add(name)
        return function(*args, **kwargs)

    return noted


def _replacements(variant: type[Variant]) -> Iterator[_Replacement]:
    """What is marked by replaces(): a base class's first, so that its own come after them."""
    for cls in reversed(variant.__mro__):
        yield from (value for value in vars(cls).values() if isinstance(value, _Replacement))


def changed_by(variant: type[Variant]) -> list[str]:
    """What of a policy it takes the place of, by name."""
    own = [cls for cls in variant.__mro__ if issubclass(cls, Variant) and cls is not Variant]
    names = [name for cls in own for name in vars(cls) if not name.startswith("__")]
    return [name for name in dict.fromkeys(names) if hasattr(FreeTablesPolicy, name)]


def functions_of(variant: type[Variant]) -> list[str]:
    """All functions of ours that it takes the place of, by name."""
    return [*changed_by(variant), *(value.name for value in _replacements(variant))]


_loaded: dict[str, type[Variant]] = {}


def load_variant(spec: str) -> type[Variant]:
    """The class that FILE.py:CLASS names; a file is loaded once. Raises MmuError with one line."""
    if spec not in _loaded:
        _loaded[spec] = _load(spec)
    return _loaded[spec]


def _load(spec: str) -> type[Variant]:
    place, colon, name = spec.rpartition(":")
    if not colon or not name.isidentifier() or not place.endswith(".py"):
        raise MmuError(f"{spec!r} is no variant: FILE.py:CLASS")
    try:
        module = python_file(place, "ucmmu_variant_")
    except BadFile as error:
        raise MmuError(str(error)) from None
    found = vars(module).get(name)
    if not isinstance(found, type) or not issubclass(found, Variant) or found is Variant:
        known = [word for word, value in vars(module).items() if _is_variant(value)]
        hint = f"; it has {', '.join(known)}" if known else ""
        raise MmuError(f"{place} has no variant {name!r}{hint}")
    if not functions_of(found):  # to pass would say nothing
        raise MmuError(
            f"{place}: {name} changes nothing: none of its methods is one of a policy"
            " (mmu/linux/free_tables.py), and no function is marked by replaces()"
        )
    return found


def _is_variant(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Variant) and value is not Variant
