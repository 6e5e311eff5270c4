# SPDX-License-Identifier: GPL-2.0-or-later
"""Function and source line of an address in an ELF file, by its symbols and debug information.

Debug information is the file's own, or in /usr/lib/debug, found by build ID or by name, as the
guest sees it. pyelftools reads it, whatever its version up to DWARF 5.
"""

from __future__ import annotations

import io
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mmu.units import U64

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile

    Open = Callable[[str], OpenFile | None]

T = TypeVar("T")
DEBUG_DIRECTORY: Final = "/usr/lib/debug"
MAX_DEBUG_INFO: Final = 64 << 20
"""Bytes of .debug_info that are read at most."""
MAX_SYMBOLS: Final = 16 << 20
"""Bytes of a table of symbols that are read at most."""
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_CODE: Final = (2, 10)
"""STT_FUNC and STT_GNU_IFUNC, which is chosen when it is first called."""


class GuestFile(io.RawIOBase):
    """An open file of the guest's, to read and seek in."""

    def __init__(self, file: OpenFile) -> None:
        super().__init__()
        self._file = file
        self._at = 0
        file.users += 1

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes."""
        data = self._file.pread(len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def close(self) -> None:
        """Let go of the file."""
        if not self.closed:
            self._file.put()
        super().close()


def _guarded(method: Callable[[Lines, Any], T | None]) -> Callable[[Lines, Any], T | None]:
    """None instead of whatever a damaged file makes pyelftools raise: what it says is only told."""

    @wraps(method)
    def guarded(lines: Lines, argument: Any) -> T | None:
        try:
            return method(lines, argument)
        except Exception:
            return None

    return guarded


class Lines:
    """What is known of the addresses of one ELF file. close() it."""

    def __init__(self, path: str, open_file: Open) -> None:
        self._streams: list[Any] = []
        self._open = open_file
        self._elf = self._load(path)
        self._debug: Any = None
        self._looked_for_debug = False
        self._path = path
        self._symbols: dict[tuple[int, str], list[tuple[int, int, str]]] = {}
        self._dwarf: dict[int, tuple[Any, Any]] = {}

    def close(self) -> None:
        """Close the files."""
        for stream in self._streams:
            stream.close()

    def _load(self, path: str) -> Any:
        from elftools.elf.elffile import ELFFile

        file = self._open(path)
        if file is None:
            return None
        stream = io.BufferedReader(GuestFile(file), 1 << 16)
        self._streams.append(stream)
        try:
            return ELFFile(stream)
        except Exception:
            return None

    @_guarded
    def section(self, name: str) -> tuple[int, int] | None:
        """Address, as in the file, and size of a section."""
        section = self._elf.get_section_by_name(name) if self._elf is not None else None
        return None if section is None else (section["sh_addr"], section["sh_size"])

    @_guarded
    def function(self, vaddr: int) -> str | None:
        """The name of the function that holds the address."""
        for elf in (self._elf, self._debug_file()):
            for section in (".symtab", ".dynsym"):
                symbols = self._functions_of(elf, section)
                at = bisect_right(symbols, (vaddr, U64, "")) - 1
                if at >= 0 and vaddr < symbols[at][1]:
                    return symbols[at][2]
        return None

    def _functions_of(self, elf: Any, section: str) -> list[tuple[int, int, str]]:
        key = id(elf), section
        if key not in self._symbols:
            self._symbols[key] = _functions(elf, section)
        return self._symbols[key]

    @_guarded
    def line(self, vaddr: int) -> str | None:
        """``file:line`` of the address."""
        for elf in (self._elf, self._debug_file()):
            if elf is None or not _has_lines(elf):
                continue
            if id(elf) not in self._dwarf:
                dwarf = elf.get_dwarf_info()
                self._dwarf[id(elf)] = dwarf, dwarf.get_aranges()
            found = _line(*self._dwarf[id(elf)], vaddr)
            if found is not None:
                return found
        return None

    def _debug_file(self) -> Any:
        """The separate file of debug information; None: there is none."""
        if not self._looked_for_debug:
            self._looked_for_debug = True
            for path in self._debug_paths():
                self._debug = self._load(path)
                if self._debug is not None:
                    break
        return self._debug

    def _debug_paths(self) -> Iterator[str]:
        if self._elf is None:
            return
        section = self._elf.get_section_by_name(".note.gnu.build-id")
        for note in section.iter_notes() if section is not None else ():
            identity = note["n_desc"]
            yield f"{DEBUG_DIRECTORY}/.build-id/{identity[:2]}/{identity[2:]}.debug"
        link = self._elf.get_section_by_name(".gnu_debuglink")
        if link is not None:
            name = link.data().split(b"\0")[0].decode("utf-8", "surrogateescape")
            folder = os.path.dirname(self._path)
            yield f"{folder}/.debug/{name}"
            yield f"{DEBUG_DIRECTORY}{folder}/{name}"


def _name(names: bytes, at: int) -> str:
    return names[at : names.find(b"\0", at)].decode("utf-8", "backslashreplace")


def _functions(elf: Any, section_name: str) -> list[tuple[int, int, str]]:
    """The functions of a table of symbols: start, end, name; in order of address."""
    section = elf.get_section_by_name(section_name) if elf is not None else None
    if section is None or section["sh_type"] not in ("SHT_SYMTAB", "SHT_DYNSYM"):
        return []
    if section.data_size > MAX_SYMBOLS:
        return []
    names = elf.get_section(section["sh_link"]).data()
    return sorted(
        (start, start + size, _name(names, name))
        for name, info, _, index, start, size in _SYMBOL.iter_unpack(section.data())
        if info & 0xF in _CODE and index
    )


def _has_lines(elf: Any) -> bool:
    """Whether it has debug information, of a size that can be read."""
    sections = [elf.get_section_by_name(name) for name in (".debug_line", ".debug_info")]
    return all(one is not None and one.data_size <= MAX_DEBUG_INFO for one in sections)


def _line(dwarf: Any, aranges: Any, vaddr: int) -> str | None:
    unit = _unit(dwarf, aranges, vaddr)
    program = None if unit is None else dwarf.line_program_for_CU(unit)
    if program is None:
        return None
    before = None
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if before is not None and before.address <= vaddr < state.address:
            return f"{file_of(unit, program, before.file)}:{before.line}"
        before = None if state.end_sequence else state
    return None


def _unit(dwarf: Any, aranges: Any, vaddr: int) -> Any:
    """The compilation unit that has code there."""
    offset = None if aranges is None else aranges.cu_offset_at_addr(vaddr)
    if offset is not None:
        return dwarf.get_CU_at(offset)
    for unit in dwarf.iter_CUs():
        if any(low <= vaddr < high for low, high in _ranges(dwarf, unit)):
            return unit
    return None


def _ranges(dwarf: Any, unit: Any) -> Iterator[tuple[int, int]]:
    attributes = unit.get_top_DIE().attributes
    low = attributes.get("DW_AT_low_pc")
    high = attributes.get("DW_AT_high_pc")
    base = low.value if low is not None else 0
    if low is not None and high is not None:
        absolute = high.form == "DW_FORM_addr"
        yield base, high.value if absolute else base + high.value
    where = attributes.get("DW_AT_ranges")
    lists = dwarf.range_lists()
    if where is None or lists is None:
        return
    for entry in lists.get_range_list_at_offset(where.value, unit):
        if hasattr(entry, "base_address"):
            base = entry.base_address
        elif getattr(entry, "is_absolute", False):
            yield entry.begin_offset, entry.end_offset
        else:
            yield base + entry.begin_offset, base + entry.end_offset


def file_of(unit: Any, program: Any, number: int) -> str:
    """The path of source file ``number`` of a unit's line program."""
    header = program.header
    first = 0 if header.version >= 5 else 1
    entry = header.file_entry[number - first]
    directories = [name.decode("utf-8", "replace") for name in header.include_directory]
    attribute = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
    built_in = "" if attribute is None else attribute.value.decode("utf-8", "replace")
    if first:
        directories.insert(0, built_in)
    folder = directories[entry.dir_index] if entry.dir_index < len(directories) else ""
    name = entry.name.decode("utf-8", "replace")
    return os.path.normpath(os.path.join(built_in, folder, name))
