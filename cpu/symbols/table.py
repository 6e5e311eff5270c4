# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that an ELF file says of its addresses, at once: functions and source lines.

For whoever writes a run down and cannot know what will be asked. What would take long is left out,
and said so; the limits are in bytes, so that one file always gives one table.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cpu.elf_layout import EHDR, PHDR, PT_LOAD, Ehdr, Phdr
from cpu.symbols.lines import file_of
from mmu.errors import LinuxError
from mmu.units import PAGE_SIZE

if TYPE_CHECKING:
    from mmu.linux.filemap import MappedFile

MAX_SYMBOLS: Final = 16 << 20
"""Bytes of a table of symbols that are read."""
MAX_LINES: Final = 512 << 10
"""Bytes of .debug_line that are read: some seconds."""
_MAX_PHDRS: Final = 64
_CHUNK: Final = 64
"""Pages that are read at once."""
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_NOTYPE, _FUNC, _IFUNC = 0, 2, 10
_SHF_EXECINSTR: Final = 4


@dataclass
class SymbolTable:
    """``functions`` are address, bytes and name, ``lines`` address, source file and line (0: no
    code of a source from there on), both in order of address, addresses as in the file.
    ``left_out`` says in words what was not read, "" for nothing.
    """

    build_id: str = ""
    functions: list[tuple[int, int, str]] = field(default_factory=list)
    lines: list[tuple[int, str, int]] = field(default_factory=list)
    left_out: str = ""


class MappedBytes(io.RawIOBase):
    """The bytes of a mapped file, past its page cache. Reading waits for nobody."""

    def __init__(self, file: MappedFile) -> None:
        super().__init__()
        self._ops = file.mapping.ops
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes; none if the file has none there, or cannot be read."""
        first, skip = divmod(self._at, PAGE_SIZE)
        nr = min(-(-(skip + len(buffer)) // PAGE_SIZE), _CHUNK)
        pages = memoryview(bytearray(nr * PAGE_SIZE))
        views = [pages[at : at + PAGE_SIZE] for at in range(0, len(pages), PAGE_SIZE)]
        try:
            got = self._ops.readahead(first, views)
        except LinuxError:
            return 0
        data = pages[skip : min(got, skip + len(buffer))]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ops.i_size()}[whence]
        self._at = max(base + offset, 0)
        return self._at


def loads_of(file: MappedFile) -> list[Phdr]:
    """The segments that are loaded of an ELF file; none of another."""
    with MappedBytes(file) as stream:
        head = stream.read(EHDR.size) or b""
        if len(head) < EHDR.size or head[:5] != b"\x7fELF\x02":
            return []
        header = Ehdr(*EHDR.unpack(head))
        if header.e_phentsize != PHDR.size or header.e_phnum > _MAX_PHDRS:
            return []
        stream.seek(header.e_phoff)
        table = stream.read(header.e_phnum * PHDR.size) or b""
    whole = len(table) // PHDR.size * PHDR.size
    headers = [Phdr(*fields) for fields in PHDR.iter_unpack(table[:whole])]
    return [one for one in headers if one.p_type == PT_LOAD]


def bias_of(loads: list[Phdr], start: int, offset: int) -> int | None:
    """What is added to the file's addresses where its bytes from ``offset`` on lie at ``start``;
    None if no segment has them. Of two segments that share a page the one that begins there has it.
    """
    for load in sorted(loads, key=lambda load: load.p_offset & -PAGE_SIZE != offset):
        if load.p_offset & -PAGE_SIZE <= offset < load.p_offset + max(load.p_filesz, 1):
            return start - offset + load.p_offset - load.p_vaddr
    return None


def symbol_table(file: MappedFile) -> SymbolTable:
    """What the file says; an empty table for what is no ELF file, or a damaged one."""
    from elftools.elf.elffile import ELFFile

    table = SymbolTable()
    with io.BufferedReader(MappedBytes(file), _CHUNK * PAGE_SIZE) as stream:
        try:
            elf = ELFFile(stream)
            table.build_id = _build_id(elf)
            table.functions, table.left_out = _functions(elf)
            table.lines, without = _lines(elf)
            table.left_out = "; ".join(filter(None, (table.left_out, without)))
        except Exception:  # whatever pyelftools raises for a damaged file: it is only told
            table.left_out = "the file's sections are damaged"
    return table


def _build_id(elf: Any) -> str:
    section = elf.get_section_by_name(".note.gnu.build-id")
    notes = section.iter_notes() if section is not None else ()
    return next((str(note["n_desc"]) for note in notes), "")


def _functions(elf: Any) -> tuple[list[tuple[int, int, str]], str]:
    """The functions of .symtab, else of .dynsym: of several names of one place the plainest."""
    for name in (".symtab", ".dynsym"):
        section = elf.get_section_by_name(name)
        if section is None or section["sh_type"] not in ("SHT_SYMTAB", "SHT_DYNSYM"):
            continue
        if section.data_size > MAX_SYMBOLS:
            return [], f"{name} has {section.data_size} bytes, {MAX_SYMBOLS} are read at most"
        return _sized(_plainest(_code_symbols(elf, section)), _code_ranges(elf)), ""
    return _sized(_plainest(_dynamic_symbols(elf)), []), ""


def _plainest(symbols: Iterable[tuple[int, int, str]]) -> dict[int, tuple[int, str]]:
    """By address, the size and the best of the names there."""
    best: dict[int, tuple[int, str]] = {}
    for address, size, text in symbols:
        if address not in best or _rank(size, text) < _rank(*best[address]):
            best[address] = size, text
    return best


def _dynamic_symbols(elf: Any) -> Iterator[tuple[int, int, str]]:
    """The functions of a file without sections, by its PT_DYNAMIC, as the vDSO has one."""
    for segment in elf.iter_segments("PT_DYNAMIC"):
        for symbol in segment.iter_symbols():
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_value"]:
                yield symbol["st_value"], symbol["st_size"], symbol.name


def _rank(size: int, name: str) -> tuple[bool, int, int, str]:
    """What is named best comes first: sized, with few leading underscores, short."""
    return not size, len(name) - len(name.lstrip("_")), len(name), name


def _code_ranges(elf: Any) -> list[tuple[int, int]]:
    """Sections that have code: start and end."""
    return [
        (section["sh_addr"], section["sh_addr"] + section["sh_size"])
        for section in elf.iter_sections()
        if section["sh_flags"] & _SHF_EXECINSTR
    ]


def _code_symbols(elf: Any, section: Any) -> Iterator[tuple[int, int, str]]:
    """Functions, and labels of assembly, which have no type."""
    code = {
        number for number, one in enumerate(elf.iter_sections()) if one["sh_flags"] & _SHF_EXECINSTR
    }
    names = elf.get_section(section["sh_link"]).data()
    for name, info, _, index, start, size in _SYMBOL.iter_unpack(section.data()):
        kind = info & 0xF
        if index and (kind in (_FUNC, _IFUNC) or (kind == _NOTYPE and index in code)):
            text = names[name : names.find(b"\0", name)].decode("utf-8", "backslashreplace")
            if text:
                yield start, size, text


def _sized(
    best: dict[int, tuple[int, str]], code: list[tuple[int, int]]
) -> list[tuple[int, int, str]]:
    """In order; a label without a size ends where the next begins, or its section ends, and is
    none (_end) if it has no code.
    """
    starts = sorted(best)
    functions = []
    for at, start in enumerate(starts):
        size, name = best[start]
        if not size:
            end = next((end for low, end in code if low <= start < end), start)
            following = starts[at + 1] if at + 1 < len(starts) else end
            size = max(min(end, following) - start, 0)
        if size:
            functions.append((start, size, name))
    return functions


def _lines(elf: Any) -> tuple[list[tuple[int, str, int]], str]:
    section = elf.get_section_by_name(".debug_line")
    if section is None or elf.get_section_by_name(".debug_info") is None:
        return [], ""
    if section.data_size > MAX_LINES:
        return [], f".debug_line has {section.data_size} bytes, {MAX_LINES} are read at most"
    dwarf = elf.get_dwarf_info()
    lines: list[tuple[int, str, int]] = []
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        files: dict[int, str] = {}
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.end_sequence:
                lines.append((state.address, "", 0))
                continue
            if state.file not in files:
                files[state.file] = file_of(unit, program, state.file)
            lines.append((state.address, files[state.file], state.line or 0))
    return _thinned(sorted(lines, key=lambda line: (line[0], bool(line[2])))), ""


def _thinned(lines: list[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
    """One line for an address, the last that is one, and none that says what the last one says."""
    thinned: list[tuple[int, str, int]] = []
    for line in lines:
        if thinned and thinned[-1][0] == line[0]:
            thinned.pop()
        if not thinned or thinned[-1][1:] != line[1:]:
            thinned.append(line)
    return thinned
