# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay a checked program out in an mm as Linux's load_elf_binary() does with address randomisation
off.

Source: fs/binfmt_elf.c and fs/exec.c, v6.18, as under ``setarch -R``. Every byte that the kernel
writes goes through the mm, faults included, so page tables and their counts come out as on Linux.

    0x7ffffffff000  +------------------+  TASK_SIZE
                    | 8 zero bytes     |
                    | program's name   |  AT_EXECFN
                    | environment      |
                    | arguments        |
                    | "x86_64", random |  AT_PLATFORM, AT_RANDOM
                    | auxiliary vector |
                    | envp[], argv[]   |
                    | argc             |  <- rsp, 16-byte aligned
                    | 128 KiB to grow  |
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from cpu.cred import Cred
from cpu.elf import ElfError, Executable
from cpu.elf_layout import PF_R, PF_W, PF_X, PHDR
from cpu.exe_file import ExeFile
from cpu.signals import MINSIGSTKSZ
from cpu.vdso import VCLOCK_PAGES, VDSO_PAGES, VVAR_PAGES, vdso_image
from mmu.errors import LinuxError, OutOfMemory
from mmu.linux import vma
from mmu.linux.filemap import MappedFile
from mmu.linux.layout import TASK_SIZE, page_align
from mmu.linux.mm import Mm
from mmu.linux.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from mmu.units import PAGE_SIZE

ELF_ET_DYN_BASE = TASK_SIZE // 3 * 2
"""Two thirds of the address space: where a PIE lies, and the heap of a static-pie program."""
VVAR_FLAGS = vma.VM_READ | vma.VM_MAYREAD | vma.VM_IO | vma.VM_DONTDUMP | vma.VM_PFNMAP
VDSO_FLAGS = vma.VM_READ | vma.VM_EXEC | vma.VM_MAYREAD | vma.VM_MAYWRITE | vma.VM_MAYEXEC
MAX_ARG_STRLEN = 128 << 10
"""Bytes of the longest single argument (include/uapi/linux/binfmts.h)."""
MAX_ARG_BYTES = 2 << 20
"""Bytes of all arguments and environment: a quarter of the 8 MiB stack limit."""

AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ = 0, 3, 4, 5, 6
AT_BASE, AT_FLAGS, AT_ENTRY = 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID = 11, 12, 13, 14
AT_PLATFORM, AT_HWCAP, AT_CLKTCK, AT_SECURE = 15, 16, 17, 23
AT_RANDOM, AT_HWCAP2, AT_EXECFN, AT_SYSINFO_EHDR, AT_MINSIGSTKSZ = 25, 26, 31, 33, 51


class StartState(NamedTuple):
    """Where the first instruction runs."""

    rip: int
    rsp: int


class Identity(NamedTuple):
    """What a process may know of itself and its processor."""

    cred: Cred
    random: bytes
    """16 bytes for AT_RANDOM."""
    hwcap: int
    """EDX of CPUID leaf 1."""
    secure: bool = False
    """AT_SECURE."""


def load_elf_binary(
    mm: Mm,
    exe: ExeFile,
    interpreter: ExeFile | None,
    argv: Sequence[str | bytes],
    envp: Sequence[str | bytes],
    identity: Identity,
) -> StartState:
    """Map ``exe``, the program that loads its libraries, its stack, heap and vDSO into the empty
    ``mm`` and write what a new program finds on its stack.

    Raises ElfError if guest RAM is too small or the arguments are too long.
    """
    try:
        return _Loader(mm, exe, interpreter).load(argv, envp, identity)
    except (LinuxError, OutOfMemory) as error:
        raise ElfError(
            exe.path, f"cannot be loaded ({error})", "give the guest more RAM"
        ) from error


class _Loader:
    def __init__(self, mm: Mm, exe: ExeFile, interpreter: ExeFile | None) -> None:
        self.mm = mm
        self.exe = exe.elf
        self.exe_file = exe
        self.interpreter = interpreter

    def load(
        self, argv: Sequence[str | bytes], envp: Sequence[str | bytes], identity: Identity
    ) -> StartState:
        strings = _Strings(self.exe, argv, envp, MAX_ARG_BYTES)
        self.setup_arg_pages(strings)
        bias = self.load_bias()
        self.load_segments(self.exe_file, bias)
        entry, base = self.exe.entry + bias, 0
        if self.interpreter is not None:
            base = self.load_elf_interp(self.interpreter)
            entry = self.interpreter.elf.entry + base
        self.set_layout(bias)
        vdso = self.map_vdso()
        rsp = self.create_elf_tables(strings, bias, base, vdso, identity)
        return StartState(rip=entry, rsp=rsp)

    def setup_arg_pages(self, strings: _Strings) -> None:
        self.mm.setup_arg_pages(len(strings.data), executable=self.exe.stack_executable)
        self.mm.copy_to_user(strings.bottom, strings.data)

    def load_bias(self) -> int:
        """What is added to the program's addresses: a PIE with an interpreter lies low, one without
        (static-pie, a loader run as a program) at the top of the mmap area.
        """
        if not self.exe.pie:
            return 0
        if self.interpreter is None:
            return self.place(self.exe, self.exe.max_align)
        return (ELF_ET_DYN_BASE & -self.exe.max_align) - self.exe.low

    def load_elf_interp(self, interpreter: ExeFile) -> int:
        """Map the interpreter; returns what is added to its addresses (AT_BASE)."""
        elf = interpreter.elf
        base = self.place(elf, PAGE_SIZE) if elf.pie else 0
        self.load_segments(interpreter, base)
        return base

    def load_segments(self, exe: ExeFile, bias: int) -> None:
        """Map every segment, ``bias`` above the file's addresses."""
        for number, segment in enumerate(exe.elf.segments):
            prot = _prot(segment.flags)
            start = (segment.vaddr + bias) & -PAGE_SIZE
            flags = MAP_PRIVATE | (MAP_FIXED if number else MAP_FIXED_NOREPLACE)
            file_end = segment.vaddr + bias + segment.filesz
            if segment.filesz:
                offset = segment.offset - segment.vaddr % PAGE_SIZE
                size = page_align(file_end) - start
                self.mm.mmap(start, size, prot, flags, exe.image, offset // PAGE_SIZE)
            else:
                file_end = start
            if segment.memsz > segment.filesz:
                self.map_bss(file_end, segment.end + bias, prot)

    def place(self, elf: Executable, align: int) -> int:
        """A free range for a program, from the top of the mmap area down: its bias."""
        size = page_align(elf.total_size)
        found = self.mm.mmap(0, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS)
        self.mm.munmap(found, size)
        return (found & -align) - elf.low

    def map_bss(self, start: int, end: int, prot: int) -> None:
        """Zeros from ``start`` on: the rest of its page in place, whole pages as anonymous
        memory.
        """
        if start % PAGE_SIZE and prot & PROT_WRITE:
            self.mm.copy_to_user(start, bytes(-start % PAGE_SIZE))
        first, last = page_align(start), page_align(end)
        if last > first:
            self.mm.vm_brk_flags(first, last - first, vma.VM_EXEC if prot & PROT_EXEC else 0)

    def set_layout(self, bias: int) -> None:
        """Code, data and heap bounds as /proc and brk() know them."""
        c, segments = self.mm.c, self.exe.segments
        code = [s for s in segments if s.flags & PF_X]
        c.start_code = min(s.vaddr for s in code) + bias
        c.end_code = max(s.vaddr + s.filesz for s in code) + bias
        c.start_data = max(s.vaddr for s in segments) + bias
        c.end_data = max(s.vaddr + s.filesz for s in segments) + bias
        moved = self.exe.pie and self.interpreter is None
        c.start_brk = c.brk = page_align(ELF_ET_DYN_BASE if moved else segments[-1].end + bias)

    def map_vdso(self) -> int:
        """Map the vDSO with its data pages below it, which hold nothing: touching those is
        SIGBUS.
        """
        pages = {
            "[vvar]": (VVAR_PAGES, VVAR_FLAGS, b""),
            "[vvar_vclock]": (VCLOCK_PAGES, VVAR_FLAGS, b""),
            "[vdso]": (VDSO_PAGES, VDSO_FLAGS, vdso_image()),
        }
        end = self.mm.get_unmapped_area(sum(nr for nr, _, _ in pages.values()) * PAGE_SIZE)
        for name, (nr, vm_flags, data) in pages.items():
            start, end = end, end + nr * PAGE_SIZE
            special = MappedFile.special_mapping(data, name)
            self.mm.install_special_mapping(start, end - start, vm_flags, special)
        return start

    def create_elf_tables(
        self, strings: _Strings, bias: int, base: int, vdso: int, identity: Identity
    ) -> int:
        """Write auxv, envp, argv and argc below the strings; returns rsp."""
        c = self.mm.c
        platform = b"x86_64\0"
        platform_at = (strings.bottom & -16) - len(platform)
        random_at = platform_at - len(identity.random)
        exe, cred = self.exe, identity.cred
        auxv = (
            (AT_SYSINFO_EHDR, vdso),
            (AT_MINSIGSTKSZ, MINSIGSTKSZ),
            (AT_HWCAP, identity.hwcap),
            (AT_PAGESZ, PAGE_SIZE),
            (AT_CLKTCK, 100),
            (AT_PHDR, exe.phdr_addr + bias if exe.phdr_addr else 0),
            (AT_PHENT, PHDR.size),
            (AT_PHNUM, exe.phnum),
            (AT_BASE, base),
            (AT_FLAGS, 0),
            (AT_ENTRY, exe.entry + bias),
            (AT_UID, cred.uid),
            (AT_EUID, cred.euid),
            (AT_GID, cred.gid),
            (AT_EGID, cred.egid),
            (AT_SECURE, int(identity.secure)),
            (AT_RANDOM, random_at),
            (AT_HWCAP2, 0),
            (AT_EXECFN, strings.execfn),
            (AT_PLATFORM, platform_at),
            (AT_NULL, 0),
        )
        words = [
            len(strings.argv),
            *strings.argv,
            0,
            *strings.envp,
            0,
            *(word for pair in auxv for word in pair),
        ]
        self.mm.saved_auxv = struct.pack(f"<{2 * len(auxv)}Q", *words[-2 * len(auxv) :])
        rsp = ((random_at & -16) - 8 * len(words)) & -16
        self.mm.copy_to_user(random_at, identity.random + platform)
        self.mm.copy_to_user(rsp, struct.pack(f"<{len(words)}Q", *words))
        c.start_stack = rsp
        c.arg_start, c.arg_end = strings.bottom, strings.arg_end
        c.env_start, c.env_end = strings.arg_end, strings.execfn
        return rsp


class _Strings:
    """The strings at the top of the stack: where each will lie, and their bytes from ``bottom``
    up.
    """

    def __init__(
        self,
        exe: Executable,
        argv: Sequence[str | bytes],
        envp: Sequence[str | bytes],
        most: int,
    ) -> None:
        arguments = [self._encode(exe, text) for text in argv]
        environment = [self._encode(exe, text) for text in envp]
        name = self._encode(exe, exe.path)
        self.data = b"".join((*arguments, *environment, name, bytes(8)))
        if len(self.data) > most:
            raise ElfError(
                exe.path,
                f"is given {len(self.data)} bytes of arguments",
                f"Linux takes {most}",
            )
        self.bottom = TASK_SIZE - len(self.data)
        self.argv = self._addresses(arguments, self.bottom)
        self.arg_end = self.bottom + sum(map(len, arguments))
        self.envp = self._addresses(environment, self.arg_end)
        self.execfn = TASK_SIZE - 8 - len(name)

    @staticmethod
    def _encode(exe: Executable, text: str | bytes) -> bytes:
        encoded = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        if b"\0" in encoded or len(encoded) >= MAX_ARG_STRLEN:
            raise ElfError(
                exe.path,
                "is given an argument with a zero byte or of 128 KiB",
                "Linux passes neither to a program",
            )
        return encoded + b"\0"

    @staticmethod
    def _addresses(strings: list[bytes], at: int) -> list[int]:
        addresses = []
        for string in strings:
            addresses.append(at)
            at += len(string)
        return addresses


def _prot(flags: int) -> int:
    """PROT_* bits of PF_* bits."""
    return (
        (PROT_READ if flags & PF_R else 0)
        | (PROT_WRITE if flags & PF_W else 0)
        | (PROT_EXEC if flags & PF_X else 0)
    )
