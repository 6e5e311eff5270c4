# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs and libraries that lie in an address space, as their mappings tell."""

from __future__ import annotations

from dataclasses import dataclass

from cpu.elf_layout import EHDR, PHDR, PT_LOAD, Ehdr, Phdr
from cpu.strace.peek import peek
from mmu.linux.mm import Mm
from mmu.linux.vma import find_vma_intersection
from mmu.units import PAGE_SIZE

PT_GNU_EH_FRAME = 0x6474E550
_MAX_PHDRS = 64


@dataclass(frozen=True)
class Module:
    """An ELF file in memory: addresses in it are its file's plus ``bias``."""

    path: str
    bias: int
    headers: tuple[Phdr, ...]

    @property
    def eh_frame_hdr(self) -> int | None:
        """Address of the table of unwind information; None: there is none."""
        for header in self.headers:
            if header.p_type == PT_GNU_EH_FRAME:
                return header.p_vaddr + self.bias
        return None


def module_at(mm: Mm, addr: int) -> Module | None:
    """The module whose mapping holds the address; None: no file's does."""
    index = find_vma_intersection(mm, addr, addr + 1)
    if index is None:
        return None
    vmas = mm.c.vmas
    file = vmas.vma[index].vm_file
    if not file:
        return None
    path = mm.file(file).path
    while index >= 0 and vmas.vma[index].vm_pgoff:
        index -= 1
        while index >= 0 and not _is_of(mm, vmas.vma[index].vm_file, path):
            index -= 1
    if index < 0:
        return None
    base = int(vmas.vma[index].vm_start)
    return _module(mm, path, base)


def _is_of(mm: Mm, file: int, path: str) -> bool:
    return bool(file) and mm.file(file).path == path


def _module(mm: Mm, path: str, base: int) -> Module | None:
    head = peek(mm, base, EHDR.size)
    if len(head) < EHDR.size or head[:4] != b"\x7fELF":
        return None
    header = Ehdr(*EHDR.unpack(head))
    if header.e_phentsize != PHDR.size or header.e_phnum > _MAX_PHDRS:
        return None
    size = header.e_phnum * PHDR.size
    table = peek(mm, base + header.e_phoff, size)
    if len(table) < size:
        return None
    headers = tuple(Phdr(*fields) for fields in PHDR.iter_unpack(table))
    first = next((one for one in headers if one.p_type == PT_LOAD), None)
    if first is None:
        return None
    return Module(path, base - (first.p_vaddr & -PAGE_SIZE), headers)
