# SPDX-License-Identifier: GPL-2.0-or-later
"""A static Linux program on bare Unicorn: the least that runs it at all.

Plain memory at the program's own addresses, no paging, no hooks but the one of SYSCALL, and as few
system calls as a static program that computes, reads a file and writes a line gets along with.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, Uc
from unicorn import x86_const as x86

from mmu.units import PAGE_MASK, PAGE_SIZE, U64

BRK_SIZE: Final = 64 << 20
MMAP_BASE: Final = 0x7000_0000_0000
MMAP_SIZE: Final = 256 << 20
STACK: Final = 0x7FFF_0000_0000
STACK_SIZE: Final = 8 << 20
AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_ENTRY, AT_RANDOM = 3, 4, 5, 6, 9, 25
_ARGS: Final = (
    x86.UC_X86_REG_RDI,
    x86.UC_X86_REG_RSI,
    x86.UC_X86_REG_RDX,
    x86.UC_X86_REG_R10,
    x86.UC_X86_REG_R8,
    x86.UC_X86_REG_R9,
)


class BareLinux:
    """``program`` loaded with ``args``; ``output`` is what it wrote."""

    def __init__(self, program: str, *args: str, cpu_model: int = x86.UC_CPU_X86_WESTMERE) -> None:
        self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self.uc.ctl_set_cpu_model(cpu_model)
        self.uc.reg_write(x86.UC_X86_REG_CR4, 0x620)  # PAE, and OSFXSR and OSXMMEXCPT for SSE
        self.output = b""
        self.nr_syscalls = 0
        self.status: int | None = None
        self.uc.mem_map(MMAP_BASE, MMAP_SIZE)
        self.uc.mem_map(STACK - STACK_SIZE, STACK_SIZE)
        self._mmap_next = MMAP_BASE
        self._load(Path(program))
        self._stack([program, *args])
        self.uc.hook_add(UC_HOOK_INSN, self._syscall, None, 1, 0, x86.UC_X86_INS_SYSCALL)

    def run(self) -> float:
        """Run it to its end; seconds."""
        started = time.perf_counter()
        self.uc.emu_start(self.entry, 0)
        return time.perf_counter() - started

    def _load(self, program: Path) -> None:
        with program.open("rb") as file:
            elf = ELFFile(file)
            segments = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
            base = 0x400000 if elf["e_type"] == "ET_DYN" else 0
            first = min(s["p_vaddr"] for s in segments) & PAGE_MASK
            end = max(s["p_vaddr"] + s["p_memsz"] for s in segments)
            self.brk = base + (end + PAGE_SIZE - 1 & PAGE_MASK)
            self.uc.mem_map(base + first, self.brk - base - first + BRK_SIZE)
            for segment in segments:
                self.uc.mem_write(base + segment["p_vaddr"], segment.data())
            self.entry = base + elf["e_entry"]
            self.phdr = (base + first + elf["e_phoff"], elf["e_phentsize"], elf["e_phnum"])

    def _stack(self, argv: list[str]) -> None:
        top = STACK - 64
        strings = b"".join(os.fsencode(arg) + b"\0" for arg in argv)
        top -= len(strings) + 16
        self.uc.mem_write(top, strings)
        at, pointers = top, []
        for arg in argv:
            pointers.append(at)
            at += len(os.fsencode(arg)) + 1
        phdr, phent, phnum = self.phdr
        auxv = (
            (AT_PHDR, phdr),
            (AT_PHENT, phent),
            (AT_PHNUM, phnum),
            (AT_PAGESZ, PAGE_SIZE),
            (AT_ENTRY, self.entry),
            (AT_RANDOM, STACK - 32),
            (0, 0),
        )
        words = [len(argv), *pointers, 0, 0, *(word for pair in auxv for word in pair)]
        rsp = top - 8 * len(words) & ~15
        self.uc.mem_write(rsp, struct.pack(f"<{len(words)}Q", *words))
        self.uc.reg_write(x86.UC_X86_REG_RSP, rsp)

    def _syscall(self, uc: Uc, _user: Any) -> None:
        self.nr_syscalls += 1
        nr = uc.reg_read(x86.UC_X86_REG_RAX)
        call, nr_args = _CALLS.get(nr, (BareLinux._unknown, 0))
        try:
            result = call(self, *(uc.reg_read(reg) for reg in _ARGS[:nr_args]))
        except OSError as error:
            result = -(error.errno or errno.EIO)
        uc.reg_write(x86.UC_X86_REG_RAX, result & U64)

    def _path(self, address: int) -> bytes:
        path = b""
        while b"\0" not in path:
            path += bytes(self.uc.mem_read(address + len(path), 1))
        return path[:-1]

    # System calls, by their arguments.

    def _read(self, fd: int, buffer: int, size: int) -> int:
        data = os.read(fd, size)
        self.uc.mem_write(buffer, data)
        return len(data)

    def _write(self, _fd: int, buffer: int, size: int) -> int:
        self.output += bytes(self.uc.mem_read(buffer, size))
        return size

    def _openat(self, _dirfd: int, path: int, flags: int) -> int:
        return os.open(self._path(path), flags & (os.O_ACCMODE | os.O_CLOEXEC))

    def _open(self, path: int, flags: int) -> int:
        return self._openat(0, path, flags)

    def _close(self, fd: int) -> int:
        if fd > 2:
            os.close(fd)
        return 0

    def _mmap(self, _address: int, size: int) -> int:
        at = self._mmap_next
        self._mmap_next += size + PAGE_SIZE - 1 & PAGE_MASK
        return at if self._mmap_next <= MMAP_BASE + MMAP_SIZE else -errno.ENOMEM

    def _brk(self, address: int) -> int:
        if address > self.brk:
            self.brk = int(address)
        return int(self.brk)

    def _arch_prctl(self, code: int, address: int) -> int:
        if code != 0x1002:
            return -errno.EINVAL
        self.uc.reg_write(x86.UC_X86_REG_FS_BASE, address)
        return 0

    def _exit(self, status: int) -> int:
        self.status = status
        self.uc.emu_stop()
        return 0

    def _unknown(self) -> int:
        return -errno.ENOSYS

    def _parent(self) -> int:
        return 1

    def _nothing(self) -> int:
        return 0


_CALLS: Final[dict[int, tuple[Callable[..., int], int]]] = {
    0: (BareLinux._read, 3),
    1: (BareLinux._write, 3),
    2: (BareLinux._open, 2),
    3: (BareLinux._close, 1),
    9: (BareLinux._mmap, 2),
    10: (BareLinux._nothing, 0),  # mprotect
    11: (BareLinux._nothing, 0),  # munmap
    12: (BareLinux._brk, 1),
    102: (BareLinux._nothing, 0),  # getuid
    104: (BareLinux._nothing, 0),  # getgid
    110: (BareLinux._parent, 0),
    158: (BareLinux._arch_prctl, 2),
    218: (BareLinux._parent, 0),  # set_tid_address
    231: (BareLinux._exit, 1),
    257: (BareLinux._openat, 3),
}
"""By number: what it does, and how many arguments it looks at; all others are ENOSYS."""
