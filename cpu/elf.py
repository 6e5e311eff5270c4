# SPDX-License-Identifier: GPL-2.0-or-later
"""Read an ELF executable and refuse, in one clear line, whatever cannot run.

Only the file header, the program headers and the interpreter's name count, and are read, as by the
kernel; section headers are never looked at. pyelftools names what is refused.
"""

from __future__ import annotations

import struct
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

from cpu.elf_layout import (
    EHDR,
    EI_CLASS,
    EI_DATA,
    EI_NIDENT,
    EI_VERSION,
    ELFCLASS32,
    ELFCLASS64,
    ELFDATA2LSB,
    ELFDATA2MSB,
    EM_X86_64,
    ET_CORE,
    ET_DYN,
    ET_EXEC,
    ET_REL,
    EV_CURRENT,
    PF_X,
    PHDR,
    PT_GNU_STACK,
    PT_INTERP,
    PT_LOAD,
    Ehdr,
    Phdr,
)
from mmu.errors import MmuError
from mmu.linux.layout import MMAP_GAP_MIN, TASK_SIZE
from mmu.units import PAGE_SIZE, U32

PATH_MAX = 4096
MMAP_MIN_ADDR = 0x10000
"""Linux's default vm.mmap_min_addr."""
MAX_MODULE = 64 << 20
"""Bytes of an object file that are looked through for what only kernel modules have."""
HEAD = 32768
"""Bytes of a file's beginning that are read to tell what it is."""
_MAX_PHDRS = 65536 // PHDR.size

_BOOTED = (
    "is a multiboot image: a kernel for a boot loader, not a Linux program",
    "boot it on a whole machine (qemu-system -kernel), or attach() the MMU to a Unicorn instance"
    " that runs it",
)
_MULTIBOOT, _MULTIBOOT2 = 0x1BADB002, 0xE85250D6
"""Magic numbers of the multiboot headers: in the first 8192 bytes at a multiple of 4, in 32768 at
one of 8.
"""
_FOREIGN = (
    (b"MZ", "a program for Windows, DOS or EFI", "build it for x86-64 Linux"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS", "build it for x86-64 Linux"),
    (b"\xca\xfe\xba\xbe", "a Java class or a macOS program", "build it for x86-64 Linux"),
    (b"\0asm", "a WebAssembly module", "build it for x86-64 Linux"),
    (b"!<arch>", "an archive of object files", "link it into an executable"),
    (b"\x1f\x8b", "compressed (gzip)", "unpack it first"),
    (b"\xfd7zXZ", "compressed (xz)", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)", "unpack it first"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
)
_MACHINES_32 = frozenset({2, 3, 8, 20, 40, 62, 243})
"""The machines that are named where a 32-bit program is refused."""


class ElfError(MmuError):
    """A file that cannot be run as a program: what is wrong, in which file, and what to do."""

    def __init__(self, path: str, problem: str, advice: str) -> None:
        super().__init__(f"{shown(path)}: {problem}: {advice}")
        self.path = path
        self.problem = problem
        self.advice = advice


class ElfFile(Protocol):
    """What an ELF file is read from: an open file."""

    @property
    def size(self) -> int:
        """Bytes."""

    def pread(self, count: int, offset: int, /) -> bytes:
        """Return ``count`` bytes from ``offset`` on, fewer at the end."""


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def pread(self, count: int, offset: int) -> bytes:
        return self.data[offset : offset + count]


class InterpreterError(ElfError):
    """A program that another one has to start, which cannot: ``errno`` says why to a guest."""

    def __init__(self, path: str, problem: str, advice: str, errno: int) -> None:
        super().__init__(path, problem, advice)
        self.errno = errno


def shown(path: str) -> str:
    """The path with what a terminal would act on as text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in path)


class Segment(NamedTuple):
    """One PT_LOAD header: file bytes ``[offset, offset + filesz)`` appear at ``vaddr``, zeros
    follow up to ``memsz``.

    All sizes in bytes; ``flags`` are PF_R, PF_W, PF_X.
    """

    offset: int
    vaddr: int
    filesz: int
    memsz: int
    flags: int
    align: int

    @property
    def end(self) -> int:
        """First address after the segment."""
        return self.vaddr + self.memsz


class Executable(NamedTuple):
    """A program that was checked: loading it can only fail for want of memory."""

    path: str
    """As given."""
    pie: bool
    """ET_DYN: addresses are relative to wherever it is loaded."""
    entry: int
    phdr_addr: int
    """Address of the program headers in memory, 0 if no segment holds them."""
    phnum: int
    segments: tuple[Segment, ...]
    """In order of address, not overlapping, at least one."""
    stack_executable: bool
    """PT_GNU_STACK asks for it; without that header x86-64 Linux does not (since v5.8)."""
    interpreter: str | None
    """PT_INTERP: the program that loads this one's libraries; None: it needs nobody."""

    @property
    def low(self) -> int:
        """First address of the page of the first segment."""
        return self.segments[0].vaddr & -PAGE_SIZE

    @property
    def total_size(self) -> int:
        """Bytes from ``low`` to the last segment's end (binfmt_elf.c, total_mapping_size())."""
        return self.segments[-1].end - self.low

    @property
    def max_align(self) -> int:
        """The largest alignment a segment asks for, at least a page; what is no power of 2 does not
        count.
        """
        wanted = [s.align for s in self.segments if s.align and s.align & (s.align - 1) == 0]
        return max([PAGE_SIZE, *wanted])


def parse(file: ElfFile | bytes, path: str = "program") -> Executable:
    """Check an ELF file; ``path`` is only for messages. Raises ElfError."""
    return _Parser(_Bytes(file) if isinstance(file, bytes) else file, path).executable()


class _Parser:
    def __init__(self, file: ElfFile, path: str) -> None:
        self.file = file
        self.path = path
        self.head = file.pread(HEAD, 0)
        self.size = max(file.size, len(self.head))

    def refuse(
        self, problem: str, advice: str = "the file is damaged; build or copy it again"
    ) -> NoReturn:
        raise ElfError(self.path, problem, advice)

    def executable(self) -> Executable:
        header = self.file_header()
        headers = self.program_headers(header)
        interpreter = self.interpreter(headers)
        segments = self.load_segments(headers)
        pie = header.e_type == ET_DYN
        self.check_placement(segments, pie)
        self.check_entry(header.e_entry, segments)
        stack_flags = [h.p_flags for h in headers if h.p_type == PT_GNU_STACK]
        return Executable(
            path=self.path,
            pie=pie,
            entry=header.e_entry,
            phdr_addr=_file_address(header.e_phoff, segments),
            phnum=header.e_phnum,
            segments=segments,
            stack_executable=bool(stack_flags and stack_flags[-1] & PF_X),
            interpreter=interpreter,
        )

    def unpack(self, layout: struct.Struct, start: int, what: str) -> tuple[Any, ...]:
        return layout.unpack(self.read(layout.size, start, what))

    def read(self, count: int, start: int, what: str) -> bytes:
        """[start, start + count) of the file, which must be there."""
        end = start + count
        data = b""
        if end <= len(self.head):
            data = self.head[start:end]
        elif end <= self.size:
            data = self.file.pread(count, start)
        if len(data) < count:
            self.refuse(f"is truncated: {what} would end at byte {end} of {self.size}")
        return data

    def file_header(self) -> Ehdr:
        """The ELF header, if it is one of a 64-bit little-endian x86-64 executable."""
        ident = self.head[:EI_NIDENT]
        if ident[:4] != b"\x7fELF":
            self.refuse_foreign()
        if len(ident) < EI_NIDENT:
            self.refuse("is truncated: the ELF header is incomplete")
        if ident[EI_CLASS] == ELFCLASS32:
            self.refuse_32_bit()
        if ident[EI_CLASS] != ELFCLASS64 or ident[EI_VERSION] != EV_CURRENT:
            self.refuse(
                f"has ELF class {ident[EI_CLASS]} and version {ident[EI_VERSION]},"
                " which do not exist"
            )
        if ident[EI_DATA] != ELFDATA2LSB:
            self.refuse("is big-endian", "build it for x86-64")
        header = Ehdr(*self.unpack(EHDR, 0, "the ELF header"))
        if header.e_machine != EM_X86_64:
            self.refuse(
                f"is for {_machine(header.e_machine)}, not EM_X86_64", "build it for x86-64"
            )
        if _multiboot(self.head):
            self.refuse(*_BOOTED)
        if header.e_type not in (ET_EXEC, ET_DYN):
            self.refuse(*self.other_type(header))
        return header

    def other_type(self, header: Ehdr) -> tuple[str, str]:
        """What an ELF file that is no program is, and what to do with it."""
        if header.e_type == ET_CORE:
            return (
                "is a core dump (type ET_CORE)",
                "give the program that dumped it; a debugger reads this file",
            )
        if header.e_type == ET_REL:
            if b".modinfo\0" in self.file.pread(MAX_MODULE, 0):
                return (
                    "is a kernel module (type ET_REL)",
                    "it runs in a kernel only: give an x86-64 Linux program",
                )
            return (
                "is an object file (type ET_REL), not yet linked",
                "link it into an executable",
            )
        return (
            f"is no program but of type {_type(header.e_type)}",
            "link it into an executable",
        )

    def refuse_foreign(self) -> NoReturn:
        """Say what a file is that is no ELF file."""
        data = self.head
        if not data:
            self.refuse("is empty, no ELF file", "give an x86-64 Linux program")
        if data[:2] == b"#!":
            self.refuse("is a script, not an ELF file", "give what its first line names")
        if data[0x202:0x206] == b"HdrS":
            self.refuse(
                "is a Linux kernel image, for a boot loader", "give an x86-64 Linux program"
            )
        for magic, what, advice in _FOREIGN:
            if data.startswith(magic):
                self.refuse(f"is {what}, not an ELF file", advice)
        if _multiboot(data):
            self.refuse(*_BOOTED)
        self.refuse("is no ELF file", "give an x86-64 Linux program")

    def refuse_32_bit(self) -> NoReturn:
        """Say what a 32-bit ELF file is."""
        order: Literal["big", "little"] = "big" if self.head[EI_DATA] == ELFDATA2MSB else "little"
        number = int.from_bytes(self.head[18:20], order)
        if _multiboot(self.head):
            self.refuse(*_BOOTED)
        machine = _machine(number) if number in _MACHINES_32 else f"machine {number}"
        if machine == "EM_X86_64":
            self.refuse("is an x32 program: x86-64 with 32-bit pointers", "build it with gcc -m64")
        if machine == "EM_386":
            self.refuse("is a 32-bit program for EM_386 (i386)", "build it for x86-64 (gcc -m64)")
        self.refuse(f"is a 32-bit program for {machine}", "build it for x86-64")

    def program_headers(self, header: Ehdr) -> list[Phdr]:
        count, size = header.e_phnum, header.e_phentsize
        if size != PHDR.size:
            self.refuse(f"says a program header has {size} bytes, not {PHDR.size}")
        if not 1 <= count <= _MAX_PHDRS:
            self.refuse(f"says it has {count} program headers, where Linux takes 1 to {_MAX_PHDRS}")
        start = header.e_phoff
        return [
            Phdr(*self.unpack(PHDR, start + i * size, f"program header {i}")) for i in range(count)
        ]

    def interpreter(self, headers: list[Phdr]) -> str | None:
        """What the first PT_INTERP names."""
        for header in headers:
            if header.p_type != PT_INTERP:
                continue
            start, size = header.p_offset, header.p_filesz
            if not 2 <= size <= PATH_MAX or start + size > self.size:
                self.refuse(
                    f"its interpreter's name, {size} bytes at byte {start}, is not in the file"
                )
            name = self.read(size, start, "its interpreter's name")
            if name[-1]:
                self.refuse("its interpreter's name does not end")
            return name.split(b"\0")[0].decode("utf-8", "surrogateescape")
        return None

    def load_segments(self, headers: list[Phdr]) -> tuple[Segment, ...]:
        segments: list[Segment] = []
        for number, header in enumerate(headers):
            if header.p_type != PT_LOAD or header.p_memsz == 0:
                continue
            segment = Segment(
                offset=header.p_offset,
                vaddr=header.p_vaddr,
                filesz=header.p_filesz,
                memsz=header.p_memsz,
                flags=header.p_flags,
                align=header.p_align,
            )
            self.check_segment(number, segment)
            if segments and segment.vaddr < segments[-1].vaddr:
                self.refuse(f"segment {number} is not in order of address")
            if segments and segment.vaddr < segments[-1].end:
                self.refuse(f"segment {number} at {segment.vaddr:#x} overlaps the one before it")
            segments.append(segment)
        if not segments:
            self.refuse("has nothing to load (no PT_LOAD header)")
        return tuple(segments)

    def check_segment(self, number: int, segment: Segment) -> None:
        where = f"segment {number} at {segment.vaddr:#x}"
        if segment.filesz > segment.memsz:
            self.refuse(
                f"{where} has {segment.filesz} bytes in the file but {segment.memsz} in memory"
            )
        if segment.offset + segment.filesz > self.size:
            end = segment.offset + segment.filesz
            self.refuse(f"is truncated: {where} would end at byte {end} of {self.size}")
        if segment.filesz and (segment.vaddr - segment.offset) % PAGE_SIZE:
            self.refuse(
                f"{where} is not at the same place in its page as byte {segment.offset} of the file"
            )

    def check_placement(self, segments: tuple[Segment, ...], pie: bool) -> None:
        low, high = segments[0].vaddr & -PAGE_SIZE, segments[-1].end
        room = TASK_SIZE - MMAP_GAP_MIN
        if low >> 63:
            self.refuse(
                f"is a kernel: its segments reach {high:#x}, where user space has no room",
                "give an x86-64 Linux program",
            )
        if high > room or (pie and high - low > room // 2):
            self.refuse(
                f"its segments reach {high:#x}, which leaves no room for the stack at"
                f" {TASK_SIZE:#x}"
            )
        if not pie and low < MMAP_MIN_ADDR:
            self.refuse(
                f"its first segment lies at {low:#x}",
                f"Linux maps nothing below {MMAP_MIN_ADDR:#x}",
            )

    def check_entry(self, entry: int, segments: tuple[Segment, ...]) -> None:
        if not any(s.flags & PF_X and s.vaddr <= entry < s.end for s in segments):
            self.refuse(
                f"its entry point {entry:#x} lies in no executable segment",
                "a shared library or a damaged file?",
            )


def _machine(number: int) -> str:
    from elftools.elf.enums import ENUM_E_MACHINE

    return _name_in(ENUM_E_MACHINE, number) or f"machine {number}"


def _type(number: int) -> str:
    from elftools.elf.enums import ENUM_E_TYPE

    return _name_in(ENUM_E_TYPE, number) or str(number)


def _name_in(names: dict[str, Any], number: int) -> str | None:
    """The last name that pyelftools lists for a number."""
    found = [name for name, value in names.items() if value == number]
    return found[-1] if found else None


def _multiboot(data: bytes) -> bool:
    """Whether a multiboot header whose checksum is right is where boot loaders look for one."""
    return _has_header(data[:8192], 4, _MULTIBOOT, 3) or _has_header(
        data[:32768], 8, _MULTIBOOT2, 4
    )


def _has_header(data: bytes, align: int, magic: int, words: int) -> bool:
    """Whether words that begin with ``magic`` and add up to 0 lie at a multiple of ``align``."""
    at = data.find(magic.to_bytes(4, "little"))
    while at >= 0:
        header = struct.unpack_from(f"<{words}I", data.ljust(at + 4 * words, b"\0"), at)
        if at % align == 0 and sum(header) & U32 == 0:
            return True
        at = data.find(magic.to_bytes(4, "little"), at + 1)
    return False


def _file_address(offset: int, segments: tuple[Segment, ...]) -> int:
    """Where the file's byte at ``offset`` is in memory, 0 if nowhere."""
    for segment in segments:
        if segment.offset <= offset < segment.offset + segment.filesz:
            return offset - segment.offset + segment.vaddr
    return 0
