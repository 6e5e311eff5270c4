# SPDX-License-Identifier: GPL-2.0-or-later
"""Processors, as a TOML file describes them: what they can do, and their TLBs.

A file names its sources once and cites one, with a confidence, beside every figure::

    name = "skylake"
    description = "one line for lists"

    [sources]
    manual = "title, edition, section"

    [processor]                  # may be left out: Intel's rules, and every feature
    vendor = "intel"             # or "amd"
    features = { value = ["nx", "pcid"], source = "manual", confidence = "documented" }
    maxphyaddr = { value = 39, source = "manual", confidence = "documented" }

    [[array]]
    name = "STLB"
    kind = "stlb"
    holds = ["4K", "2M"]
    entries = { value = 1536, source = "manual", confidence = "documented" }
    ways = { value = 12, source = "manual", confidence = "documented" }

=============== ================================================================================
kind            what the array serves
=============== ================================================================================
itlb            first level: fetches
dtlb            first level: loads and stores
dtlb_loads      first level: loads
dtlb_stores     first level: stores
stlb            second level: everything
l2_itlb         second level: fetches
l2_dtlb         second level: loads and stores
psc             walks: a paging-structure cache
=============== ================================================================================

``holds`` names page sizes (4K, 2M, 1G) and, in a psc or a second level, entries that refer to
tables (PDE, PDPTE, PML4E, PML5E). A page of a size that no array of a kind holds is not cached
there, unless it is smashed: ``smash = { "1G" = "2M" }`` in an array enters a 1 GiB page as 2 MiB
fragments, a table ``[smash]`` of the file says so for every array that holds 2M, where no other of
its kind takes 1G.

Further keys of an array, each a figure, all optional: ``index`` ("linear": the set is the page
number modulo the number of sets, entries / ways; "xor": the page number's lowest bits xor the next
ones), ``replacement`` ("lru", "fifo", "random", "tree_plru", "mru_plru"; see mmu/x86/tlb.py) and
``pcids`` (how many PCIDs may have entries there at once; 0: none survives a MOV to CR3, though bit
63 asks for it). ``seed`` of the file begins the sequence of "random". Files that ship with us lie
in ``geometries/``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mmu._native import lib
from mmu.errors import MmuError
from mmu.units import U64
from mmu.x86.replacement import BY_NAME, Replacement

if TYPE_CHECKING:
    from mmu.x86.toml_lines import Key

_toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

CONFIDENCES: Final = {
    "documented": "the vendor's manual says so",
    "measured": "published measurements agree",
    "inferred": "deduced from published hints; another value is possible",
    "chosen": "this model's own choice; nothing is published",
}
VENDORS: Final = ("intel", "amd")
FEATURES: Final = (
    "nx",
    "page1gb",
    "pge",
    "pcid",
    "invpcid",
    "smep",
    "smap",
    "pku",
    "pks",
    "cet_ss",
    "la57",
    "invlpgb",
    "tce",
)
"""What a processor may be able to do, as far as paging goes: CPUID's names, in lower case."""
DEFAULT_SEED: Final = 0x9E37_79B9_7F4A_7C15

_PAGE_SIZES: Final = {"4K": 1, "2M": 2, "1G": 3}
_STRUCTURES: Final = {"PDE": 2, "PDPTE": 3, "PML4E": 4, "PML5E": 5}
_KINDS: Final[dict[str, int]] = {
    "dtlb": lib.TLB_DTLB_LOAD | lib.TLB_DTLB_STORE,
    "dtlb_loads": lib.TLB_DTLB_LOAD,
    "dtlb_stores": lib.TLB_DTLB_STORE,
    "itlb": lib.TLB_ITLB,
    "stlb": lib.TLB_L2_ITLB | lib.TLB_L2_DTLB,
    "l2_itlb": lib.TLB_L2_ITLB,
    "l2_dtlb": lib.TLB_L2_DTLB,
    "psc": lib.TLB_PSC,
}
_SECOND_LEVEL: Final = lib.TLB_L2_ITLB | lib.TLB_L2_DTLB
_INDEXES: Final = ("linear", "xor")
_MAXPHYADDR: Final = (32, 52)
_SHIPPED: Final = Path(__file__).resolve().parent / "geometries"
_FILE_KEYS: Final = {"name", "description", "sources", "array"}
_FILE_OPTIONS: Final = {"processor", "smash", "seed"}
_ARRAY_KEYS: Final = {"name", "kind", "holds", "entries", "ways"}
_ARRAY_OPTIONS: Final = {"index", "replacement", "pcids", "smash"}
_PROCESSOR_KEYS: Final = {"vendor", "features", "maxphyaddr"}
_FIGURE_KEYS: Final = {"value", "source", "confidence"}
_WHERE: Final = r" \(at (?:line (\d+), column (\d+)|end of document)\)"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a geometry: where it comes from, in full, and how sure it is (a key of
    CONFIDENCES).
    """

    value: int
    source: str
    confidence: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One property that is a word instead of a number, with its source and confidence."""

    value: str
    source: str = "what the file does not say"
    confidence: str = "chosen"


@dataclass(frozen=True, slots=True)
class Array:
    """One array.

    ``kind`` is a word of the table above, ``levels`` the page sizes it holds (1 4 KiB, 2 2 MiB, 3 1
    GiB), ``structures`` the levels of the table-referencing entries it holds. ``index`` and
    ``replacement`` are as in a file. ``smash`` pairs a size with the size it is entered as instead.
    """

    name: str
    kind: str
    levels: tuple[int, ...]
    entries: Figure
    ways: Figure
    structures: tuple[int, ...] = ()
    index: Choice = Choice("linear")
    replacement: Choice = Choice("lru")
    pcids: Figure | None = None
    smash: tuple[tuple[int, int], ...] = ()

    @property
    def sets(self) -> int:
        """Number of sets."""
        return self.entries.value // self.ways.value

    @property
    def kind_bits(self) -> int:
        """The TLB_* bits of ``struct tlb_array.kind``."""
        return _KINDS[self.kind] | (lib.TLB_PSC if self.structures else 0)

    @property
    def sizes(self) -> int:
        """The bits of ``struct tlb_array.sizes``."""
        return sum(1 << level for level in self.levels)

    @property
    def tables(self) -> int:
        """The bits of ``struct tlb_array.tables``."""
        return sum(1 << level for level in self.structures)

    @property
    def fold(self) -> int:
        """``struct tlb_array.fold``: by how much an XOR index shifts the page number."""
        return self.sets.bit_length() - 1 if self.index.value == "xor" else 0

    @property
    def policy(self) -> Replacement:
        """Who gives a place away."""
        return BY_NAME[self.replacement.value]

    @property
    def enters(self) -> tuple[int, int, int, int]:
        """``struct tlb_array.enters``: by level of a page, the level it is entered as here; 0 not
        at all.
        """
        return (0, self._enters(1), self._enters(2), self._enters(3))

    def _enters(self, level: int) -> int:
        smashed = dict(self.smash)
        while level and level not in self.levels:
            level = smashed.get(level, 0)
        return level

    @property
    def figures(self) -> tuple[Figure | Choice, ...]:
        """All that has a source."""
        always = (self.entries, self.ways, self.index, self.replacement)
        return always if self.pcids is None else (*always, self.pcids)

    @property
    def holds(self) -> str:
        """What it holds, in a file's words."""
        words = [word for word, level in _PAGE_SIZES.items() if level in self.levels]
        words += [word for word, level in _STRUCTURES.items() if level in self.structures]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Processor:
    """What the processor around the TLB is: a word of VENDORS, a set of FEATURES, MAXPHYADDR (SDM
    4.1.4).
    """

    vendor: str
    features: frozenset[str]
    maxphyaddr: Figure
    features_source: str = "what the file does not say"
    features_confidence: str = "chosen"


EVERYTHING: Final = Processor(
    "intel", frozenset(FEATURES), Figure(46, "what the file does not say", "chosen")
)
"""A processor of which a geometry says nothing: Intel's rules, every feature."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """A TLB and its paging-structure caches, as a file has them; ``description`` is one line."""

    name: str
    description: str
    arrays: tuple[Array, ...]
    processor: Processor = EVERYTHING
    seed: int = DEFAULT_SEED

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.description}"]
        for array in self.arrays:
            shape = f"{array.entries.value} entries, {array.sets} x {array.ways.value}"
            lines.append(
                f"  {array.name:10} {array.kind:11} {shape:24} {array.holds:17}"
                f" {array.index.value:6} {array.replacement.value:9} ({array.entries.confidence})"
            )
        return "\n".join(lines)


def list_geometries() -> list[str]:
    """Names of the geometries that ship, sorted."""
    return list(_names())


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def load_geometry(name_or_path: str) -> Geometry:
    """A shipped geometry by its name, or any by its file's path (a name with a slash or ending in
    .toml).

    Raises MmuError: one line with the file, the line in it, the key and the reason.
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        return _File(Path(name_or_path)).geometry()
    if name_or_path not in list_geometries():
        known = ", ".join(list_geometries())
        raise MmuError(
            f"no TLB geometry {name_or_path!r}: known are {known}, or give a file's path"
        )
    return _shipped(name_or_path)


@cache
def _shipped(name: str) -> Geometry:
    """Read once: a file of ours does not change."""
    return _File(_SHIPPED / f"{name}.toml").geometry()


def _spell(key: Key) -> str:
    """A key as people write it: array[3].ways."""
    words = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in key]
    return "".join(words).removeprefix(".")


class _File:
    """One geometry file being read: every complaint names it, the line and the key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._toml = ""
        self._sources: dict[str, str] = {}

    def geometry(self) -> Geometry:
        data = self._parse()
        self._check_keys((), data, _FILE_KEYS, _FILE_OPTIONS)
        name, description = (
            self._text(("name",), data["name"]),
            self._text(("description",), data["description"]),
        )
        self._sources = self._read_sources(data["sources"])
        processor = self._processor(data["processor"]) if "processor" in data else EVERYTHING
        smash = self._smash(("smash",), data.get("smash", {}))
        seed = self._number(("seed",), data.get("seed", DEFAULT_SEED), 1, U64)
        tables = data["array"]
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self._error(("array",), "must be a list of tables, each headed [[array]]")
        arrays = tuple(self._array(("array", i), table) for i, table in enumerate(tables))
        self._check_whole(arrays)
        return Geometry(name, description, _smashed(arrays, smash), processor, seed)

    def _error(self, key: Key, reason: str) -> MmuError:
        from mmu.x86.toml_lines import key_lines, line_of

        where = f"{self._path}:{line_of(key_lines(self._toml), key)}"
        return MmuError(f"{where}: {_spell(key)}: {reason}")

    def _parse(self) -> dict[str, Any]:
        try:
            raw = self._path.read_bytes()
        except OSError as error:
            raise MmuError(f"{self._path}: {(error.strerror or str(error)).lower()}") from None
        except ValueError as error:
            raise MmuError(f"{str(self._path)!r}: {error}") from None
        try:
            text = raw.decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise MmuError(f"{self._path}:{line}: is not UTF-8 text") from None
        try:
            parsed: dict[str, Any] = _toml.loads(text)
            self._toml = text
        except _toml.TOMLDecodeError as error:
            raise self._syntax_error(text, str(error)) from None
        except RecursionError:
            raise MmuError(
                f"{self._path}: has lists or tables too deep within each other"
            ) from None
        except ValueError:  # Python's limit on the digits of an integer
            raise MmuError(f"{self._path}: has a number of too many digits") from None
        return parsed

    def _syntax_error(self, text: str, reason: str) -> MmuError:
        """The parser's complaint with the line in its place."""
        where = re.search(_WHERE, reason)
        line = where[1] if where and where[1] else len(text.splitlines()) or 1
        column = (
            f" (column {where[2]})" if where and where[2] else " (end of file)" if where else ""
        )
        reason = re.sub(_WHERE, "", reason).replace("\n", " ")
        return MmuError(f"{self._path}:{line}: is not valid TOML: {reason}{column}")

    def _check_keys(
        self, where: Key, table: dict[str, Any], needed: set[str], more: set[str]
    ) -> None:
        for name in sorted(needed - table.keys()):
            raise self._error((*where, name), "is missing")
        for name in sorted(table.keys() - needed - more):
            known = ", ".join(sorted(needed | more))
            raise self._error((*where, name), f"is unknown; known here are {known}")

    def _text(self, key: Key, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or "\n" in value:
            raise self._error(key, "must be one line of text")
        return value

    def _word(self, key: Key, value: object, words: Any) -> str:
        word = self._text(key, value)
        if word not in words:
            raise self._error(key, f"must be one of {', '.join(words)}, not {word!r}")
        return word

    def _words(self, key: Key, value: object, words: Any) -> list[str]:
        known = ", ".join(words)
        if not isinstance(value, list):
            raise self._error(key, f"must be a list of some of {known}")
        for i, word in enumerate(value):
            if not isinstance(word, str) or word not in words:
                raise self._error((*key, i), f"{word!r} is none of {known}")
            if word in value[:i]:
                raise self._error((*key, i), f"{word!r} is there twice")
        return value

    def _number(self, key: Key, value: object, least: int, most: int) -> int:
        if type(value) is not int or not least <= value <= most:
            raise self._error(key, f"must be a whole number from {least} to {most}")
        return value

    def _read_sources(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self._error(("sources",), "must be a table of texts")
        return {name: self._text(("sources", name), text) for name, text in value.items()}

    def _sourced(self, key: Key, value: object) -> tuple[Any, str, str]:
        """Value, source and confidence of a figure; the value is yet to be checked."""
        if not isinstance(value, dict):
            raise self._error(key, "must be a table of value, source and confidence")
        self._check_keys(key, value, _FIGURE_KEYS, set())
        source = self._text((*key, "source"), value["source"])
        if source not in self._sources:
            raise self._error((*key, "source"), f"{source!r} is not listed in [sources]")
        confidence = self._word((*key, "confidence"), value["confidence"], CONFIDENCES)
        return value["value"], self._sources[source], confidence

    def _figure(self, key: Key, value: object, least: int, most: int) -> Figure:
        number, source, confidence = self._sourced(key, value)
        return Figure(self._number((*key, "value"), number, least, most), source, confidence)

    def _choice(self, key: Key, value: object, words: Any) -> Choice:
        word, source, confidence = self._sourced(key, value)
        return Choice(self._word((*key, "value"), word, words), source, confidence)

    def _processor(self, table: object) -> Processor:
        key: Key = ("processor",)
        if not isinstance(table, dict):
            raise self._error(key, "must be a table")
        self._check_keys(key, table, _PROCESSOR_KEYS, set())
        vendor = self._word((*key, "vendor"), table["vendor"], VENDORS)
        features, source, confidence = self._sourced((*key, "features"), table["features"])
        return Processor(
            vendor,
            frozenset(self._words((*key, "features", "value"), features, FEATURES)),
            self._figure((*key, "maxphyaddr"), table["maxphyaddr"], *_MAXPHYADDR),
            source,
            confidence,
        )

    def _smash(self, key: Key, table: object) -> dict[int, int]:
        if not isinstance(table, dict):
            raise self._error(key, "must be a table of page sizes")
        smash: dict[int, int] = {}
        for name, value in table.items():
            if name not in _PAGE_SIZES:
                raise self._error((*key, name), f"{name!r} is none of {', '.join(_PAGE_SIZES)}")
            into = self._word((*key, name), value, _PAGE_SIZES)
            if _PAGE_SIZES[into] >= _PAGE_SIZES[name]:
                raise self._error((*key, name), f"{into!r} is not smaller than {name!r}")
            smash[_PAGE_SIZES[name]] = _PAGE_SIZES[into]
        return smash

    def _array(self, key: Key, table: dict[str, Any]) -> Array:
        self._check_keys(key, table, _ARRAY_KEYS, _ARRAY_OPTIONS)
        kind = self._word((*key, "kind"), table["kind"], _KINDS)
        levels, structures = self._holds((*key, "holds"), table["holds"], kind)
        pcids = table.get("pcids")
        array = Array(
            self._text((*key, "name"), table["name"]),
            kind,
            levels,
            self._figure((*key, "entries"), table["entries"], 1, lib.TLB_MAX_ENTRIES),
            self._figure((*key, "ways"), table["ways"], 1, lib.TLB_MAX_ENTRIES),
            structures,
            self._option((*key, "index"), table, _INDEXES, "linear"),
            self._option((*key, "replacement"), table, BY_NAME, "lru"),
            None if pcids is None else self._figure((*key, "pcids"), pcids, 0, lib.TLB_MAX_PCIDS),
            tuple(self._smash((*key, "smash"), table.get("smash", {})).items()),
        )
        self._check_shape(key, array)
        self._check_smash((*key, "smash"), array)
        return array

    def _option(self, key: Key, table: dict[str, Any], words: Any, default: str) -> Choice:
        name = str(key[-1])
        return self._choice(key, table[name], words) if name in table else Choice(default)

    def _holds(self, key: Key, value: object, kind: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        names = {} if kind == "psc" else dict(_PAGE_SIZES)
        if kind == "psc" or _KINDS[kind] & _SECOND_LEVEL:
            names |= _STRUCTURES
        words = self._words(key, value, names)
        if not words:
            raise self._error(key, f"must be a list of some of {', '.join(names)}")
        levels = sorted(_PAGE_SIZES[word] for word in words if word in _PAGE_SIZES)
        return tuple(levels), tuple(
            sorted(_STRUCTURES[word] for word in words if word in _STRUCTURES)
        )

    def _check_shape(self, key: Key, array: Array) -> None:
        """Entries, ways, index and replacement must fit together."""
        entries, ways = array.entries.value, array.ways.value
        if entries % ways:
            raise self._error(
                (*key, "ways"),
                f"{entries} entries cannot be split into {ways} ways; give a divisor",
            )
        if array.index.value == "xor" and array.sets & (array.sets - 1):
            raise self._error(
                (*key, "index"),
                f"xor takes a power of two of sets, and {entries} / {ways} is {array.sets}",
            )
        if wanted := array.policy.wants(ways):
            raise self._error(
                (*key, "replacement"), f"{array.policy.name} takes {wanted}, not {ways}"
            )

    def _check_smash(self, key: Key, array: Array) -> None:
        names = {level: name for name, level in _PAGE_SIZES.items()}
        for level, _ in array.smash:
            name = names[level]
            if level in array.levels:
                raise self._error((*key, name), f"the array holds {name} whole")
            if not array.enters[level]:
                raise self._error((*key, name), "leads to no size that the array holds")

    def _check_whole(self, arrays: tuple[Array, ...]) -> None:
        key: Key = ("array",)
        if len(arrays) > lib.TLB_MAX_ARRAYS:
            raise self._error(key, f"{len(arrays)} arrays are more than {lib.TLB_MAX_ARRAYS}")
        total = sum(array.entries.value for array in arrays)
        if total > lib.TLB_MAX_ENTRIES:
            raise self._error(key, f"{total} entries in all are more than {lib.TLB_MAX_ENTRIES}")
        sets = sum(array.sets for array in arrays)
        if sets > lib.TLB_MAX_SETS:
            raise self._error(key, f"{sets} sets in all are more than {lib.TLB_MAX_SETS}")
        for i, array in enumerate(arrays):
            self._check_beside((*key, i), array, arrays[:i])

    def _check_beside(self, key: Key, array: Array, others: tuple[Array, ...]) -> None:
        """No name twice, and one array for each size and each structure."""
        for other in others:
            if other.name == array.name:
                raise self._error((*key, "name"), f"{array.name!r} is there twice")
            for name, level in _PAGE_SIZES.items():
                if _serve_alike(array, other) and array.enters[level] and other.enters[level]:
                    where = "holds" if level in array.levels else "smash"
                    raise self._error(
                        (*key, where), f"{other.name!r} already is the {other.kind} for {name}"
                    )
            for name, level in _STRUCTURES.items():
                if level in array.structures and level in other.structures:
                    raise self._error((*key, "holds"), f"{other.name!r} already holds {name}")


def _serve_alike(one: Array, other: Array) -> bool:
    """Whether some access looks into both on one level."""
    return bool(_KINDS[one.kind] & _KINDS[other.kind])


def _smashed(arrays: tuple[Array, ...], smash: dict[int, int]) -> tuple[Array, ...]:
    """The arrays with the file's own [smash], each where it takes the smaller size and no other the
    larger.
    """
    done = list(arrays)
    for level in sorted(smash):
        for i, array in enumerate(done):
            taken = any(_serve_alike(array, other) and other.enters[level] for other in done)
            into = array.enters[smash[level]]
            if into and not taken:
                done[i] = replace(array, smash=(*array.smash, (level, into)))
    return tuple(done)
