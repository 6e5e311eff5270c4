# SPDX-License-Identifier: GPL-2.0-or-later
"""TLB geometries: how many entries, how many ways, for which pages; read from a TOML file.

A file names its sources once and cites one, with a confidence, beside every number::

    name = "skylake"
    description = "one line for lists"

    [sources]
    manual = "title, edition, section"

    [[array]]
    name = "STLB"
    kind = "stlb"                # dtlb, itlb: first level; stlb: second level; psc: paging-structure cache
    holds = ["4K", "2M"]         # page sizes 4K, 2M, 1G; of a psc: PDE, PDPTE, PML4E
    entries = { value = 1536, source = "manual", confidence = "documented" }
    ways = { value = 12, source = "manual", confidence = "documented" }

A set is chosen by the page number modulo the number of sets, entries / ways. A page of a size that no
array of a kind holds is not cached there. Files that ship with us lie in ``geometries/``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mmu._native import lib
from mmu.errors import MmuError

_toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

CONFIDENCES: Final = {
    "documented": "the vendor's manual says so",
    "measured": "published measurements agree",
    "inferred": "deduced from published hints; another value is possible",
    "chosen": "this model's own choice; nothing is published",
}
_PAGE_SIZES: Final = {"4K": 1, "2M": 2, "1G": 3}
_STRUCTURES: Final = {"PDE": 2, "PDPTE": 3, "PML4E": 4}
_KINDS: Final[dict[str, int]] = {
    "dtlb": lib.TLB_DTLB,
    "itlb": lib.TLB_ITLB,
    "stlb": lib.TLB_STLB,
    "psc": lib.TLB_PSC,
}
_SHIPPED: Final = Path(__file__).resolve().parent / "geometries"
_FILE_KEYS: Final = {"name", "description", "sources", "array"}
_ARRAY_KEYS: Final = {"name", "kind", "holds", "entries", "ways"}
_FIGURE_KEYS: Final = {"value", "source", "confidence"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a geometry: where it comes from, in full, and how sure it is (a key of CONFIDENCES)."""

    value: int
    source: str
    confidence: str


@dataclass(frozen=True, slots=True)
class Array:
    """One array.

    ``kind`` is dtlb, itlb, stlb or psc; ``levels`` what it holds (1 4 KiB, 2 2 MiB, 3 1 GiB), of a psc the
    levels of the entries it caches.
    """

    name: str
    kind: str
    levels: tuple[int, ...]
    entries: Figure
    ways: Figure

    @property
    def sets(self) -> int:
        """Number of sets."""
        return self.entries.value // self.ways.value

    @property
    def kind_bit(self) -> int:
        """The TLB_* bit of ``struct tlb_array.kind``."""
        return _KINDS[self.kind]

    @property
    def sizes(self) -> int:
        """The bits of ``struct tlb_array.sizes``."""
        return sum(1 << level for level in self.levels)


@dataclass(frozen=True, slots=True)
class Geometry:
    """A TLB and its paging-structure caches, as a file describes them; ``description`` is one line."""

    name: str
    description: str
    arrays: tuple[Array, ...]

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.description}"]
        for array in self.arrays:
            names = _STRUCTURES if array.kind == "psc" else _PAGE_SIZES
            holds = " ".join(name for name, level in names.items() if level in array.levels)
            shape = f"{array.entries.value} entries, {array.sets} x {array.ways.value}"
            lines.append(
                f"  {array.name:10} {array.kind:5} {shape:24} {holds:9} ({array.entries.confidence})"
            )
        return "\n".join(lines)


def list_geometries() -> list[str]:
    """Names of the geometries that ship, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def load_geometry(name_or_path: str) -> Geometry:
    """A shipped geometry by its name, or any by its file's path (a name with a slash or ending in .toml).

    Raises MmuError: one line with the file, the key and the reason.
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return _File(Path(name_or_path)).geometry()
    if name_or_path not in list_geometries():
        known = ", ".join(list_geometries())
        raise MmuError(f"no TLB geometry {name_or_path!r}: known are {known}, or give a file's path")
    return _File(_SHIPPED / f"{name_or_path}.toml").geometry()


class _File:
    """One geometry file being read: every complaint names it and the key."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def geometry(self) -> Geometry:
        data = self._parse()
        self._check_keys("", data, _FILE_KEYS)
        sources = self._sources(data["sources"])
        tables = data["array"]
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self._error("array", "must be a list of tables, each headed [[array]]")
        arrays = tuple(self._array(f"array[{i}]", table, sources) for i, table in enumerate(tables))
        self._check_whole(arrays)
        return Geometry(
            self._text("name", data["name"]), self._text("description", data["description"]), arrays
        )

    def _error(self, key: str, reason: str) -> MmuError:
        where = f"{self.path}: {key}" if key else str(self.path)
        return MmuError(f"{where}: {reason}")

    def _parse(self) -> dict[str, Any]:
        try:
            parsed: dict[str, Any] = _toml.loads(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise self._error("", (error.strerror or str(error)).lower()) from None
        except UnicodeDecodeError:
            raise self._error("", "is not UTF-8 text") from None
        except _toml.TOMLDecodeError as error:
            reason = str(error).replace("\n", " ")
            raise self._error("", f"is not valid TOML: {reason}") from None
        return parsed

    def _check_keys(self, where: str, table: dict[str, Any], keys: set[str]) -> None:
        prefix = f"{where}." if where else ""
        for key in sorted(keys - table.keys()):
            raise self._error(prefix + key, "is missing")
        for key in sorted(table.keys() - keys):
            raise self._error(prefix + key, f"is unknown; known here are {', '.join(sorted(keys))}")

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or "\n" in value:
            raise self._error(key, "must be one line of text")
        return value

    def _sources(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self._error("sources", "must be a table of texts")
        return {key: self._text(f"sources.{key}", text) for key, text in value.items()}

    def _array(self, key: str, table: dict[str, Any], sources: dict[str, str]) -> Array:
        self._check_keys(key, table, _ARRAY_KEYS)
        kind = self._text(f"{key}.kind", table["kind"])
        if kind not in _KINDS:
            raise self._error(f"{key}.kind", f"must be one of {', '.join(_KINDS)}, not {kind!r}")
        array = Array(
            self._text(f"{key}.name", table["name"]),
            kind,
            self._levels(f"{key}.holds", table["holds"], _STRUCTURES if kind == "psc" else _PAGE_SIZES),
            self._figure(f"{key}.entries", table["entries"], sources),
            self._figure(f"{key}.ways", table["ways"], sources),
        )
        if array.entries.value % array.ways.value:
            raise self._error(
                f"{key}.ways", f"{array.entries.value} entries cannot be split into {array.ways.value} ways"
            )
        return array

    def _levels(self, key: str, value: object, names: dict[str, int]) -> tuple[int, ...]:
        known = ", ".join(names)
        if not isinstance(value, list) or not value:
            raise self._error(key, f"must be a list of some of {known}")
        for name in value:
            if not isinstance(name, str) or name not in names:
                raise self._error(key, f"{name!r} is none of {known}")
        if len(set(value)) < len(value):
            raise self._error(key, "names one size twice")
        return tuple(sorted(names[name] for name in value))

    def _figure(self, key: str, value: object, sources: dict[str, str]) -> Figure:
        if not isinstance(value, dict):
            raise self._error(key, "must be a table of value, source and confidence")
        self._check_keys(key, value, _FIGURE_KEYS)
        number = value["value"]
        if type(number) is not int or not 1 <= number <= lib.TLB_MAX_ENTRIES:
            raise self._error(f"{key}.value", f"must be a whole number from 1 to {lib.TLB_MAX_ENTRIES}")
        source = self._text(f"{key}.source", value["source"])
        if source not in sources:
            raise self._error(f"{key}.source", f"{source!r} is not listed in [sources]")
        confidence = self._text(f"{key}.confidence", value["confidence"])
        if confidence not in CONFIDENCES:
            raise self._error(f"{key}.confidence", f"{confidence!r} is none of {', '.join(CONFIDENCES)}")
        return Figure(number, sources[source], confidence)

    def _check_whole(self, arrays: tuple[Array, ...]) -> None:
        if len(arrays) > lib.TLB_MAX_ARRAYS:
            raise self._error("array", f"{len(arrays)} arrays are more than {lib.TLB_MAX_ARRAYS}")
        total = sum(array.entries.value for array in arrays)
        if total > lib.TLB_MAX_ENTRIES:
            raise self._error("array", f"{total} entries in all are more than {lib.TLB_MAX_ENTRIES}")
        names = [array.name for array in arrays]
        for i, array in enumerate(arrays):
            if array.name in names[:i]:
                raise self._error(f"array[{i}].name", f"{array.name!r} is there twice")
            for other, level in _shared_levels(array, arrays[:i]):
                raise self._error(
                    f"array[{i}].holds", f"{other.name!r} already is the {array.kind} for {level}"
                )


def _shared_levels(array: Array, others: tuple[Array, ...]) -> Iterator[tuple[Array, str]]:
    names = _STRUCTURES if array.kind == "psc" else _PAGE_SIZES
    for other in others:
        for name, level in names.items():
            if other.kind == array.kind and level in other.levels and level in array.levels:
                yield other, name
