# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's kernel as an oracle: the same system calls, made natively and on an mm of ours."""

from __future__ import annotations

import errno
import functools
import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmu.errors import LinuxError
from mmu.linux import procfs, vma
from mmu.linux.filemap import MappedFile
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_ANONYMOUS

SOURCE = Path(__file__).with_name("native_mm.c")
_MAPS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ \d+ *(.*)")

Call = tuple[Any, ...]


@dataclass(frozen=True)
class Mapping:
    """One line of maps."""

    start: int
    end: int
    perms: str
    offset: int
    name: str


def parse_maps(text: str) -> list[Mapping]:
    lines = filter(None, map(_MAPS.match, text.splitlines()))
    return [Mapping(int(m[1], 16), int(m[2], 16), m[3], int(m[4], 16), m[5]) for m in lines]


@functools.cache
def native_program() -> Path:
    """The oracle's program, built once; without a compiler or on another machine the test is
    skipped.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("the native oracle needs gcc on x86-64")
    program = Path(tempfile.mkdtemp(prefix="native_mm.")) / "native_mm"
    built = subprocess.run(
        [compiler, "-O1", "-static", "-o", program, SOURCE], capture_output=True, text=True
    )
    if built.returncode:
        pytest.skip(f"the native oracle does not build: {built.stderr}")
    return program


def kernel_is_like_ours() -> bool:
    """Whether the host places and merges as Linux 6.18 does, which ours follows (6.13 changed the
    placing).
    """
    version = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    return version >= (6, 13)


def run_native(calls: list[Call]) -> tuple[list[int], list[Mapping]]:
    """What the host's kernel returns for each call, and its maps afterwards."""
    program = native_program()
    text = "".join(f"{name} {' '.join(f'{n:x}' for n in args)}\n" for name, *args in calls)
    done = subprocess.run(
        [program], input=text, capture_output=True, text=True, timeout=30, check=True
    )
    lines = done.stdout.splitlines()
    return [int(line, 16) for line in lines[: len(calls)]], parse_maps(
        "\n".join(lines[len(calls) :])
    )


@functools.cache
def initial_maps() -> list[Mapping]:
    """What the program's address space holds at its start."""
    return run_native([])[1]


def be_like_native(mm: Mm) -> MappedFile:
    """Give an empty mm what the program's address space holds at its start; returns the program's
    file.
    """
    file = MappedFile(native_program().read_bytes(), path=str(native_program()))
    for mapping in initial_maps():
        if mapping.name == "[vsyscall]":
            continue
        prot = sum(
            bit for letter, bit in zip("rwx", (1, 2, 4), strict=True) if letter in mapping.perms
        )
        backing = file if mapping.name == file.path else None
        length = mapping.end - mapping.start
        if mapping.name == "[stack]":
            mm.setup_arg_pages(1)
        elif mapping.name == "[heap]":
            mm.c.start_brk = mm.c.brk = mapping.start
            mm.brk(mapping.end)
        elif mapping.name.startswith("[v"):
            special = MappedFile.special_mapping(bytes(length), mapping.name)
            kernel_only = (
                vma.VM_IO | vma.VM_PFNMAP | vma.VM_DONTDUMP if "vvar" in mapping.name else 0x70
            )
            mm.install_special_mapping(
                mapping.start, length, prot | vma.VM_MAYREAD | kernel_only, special
            )
        else:
            mm.mmap(mapping.start, length, prot, 0x12, backing, mapping.offset >> 12)
    return file


def run_ours(mm: Mm, calls: list[Call]) -> tuple[list[int], list[Mapping]]:
    """The same on our mm."""
    file = be_like_native(mm)
    first_brk = int(mm.c.brk)
    results = [_call(mm, file, first_brk, name, *args) for name, *args in calls]
    return results, parse_maps(procfs.maps(mm))


def _call(mm: Mm, file: MappedFile, first_brk: int, name: str, *args: int) -> int:
    try:
        if name == "mmap":
            addr, length, prot, flags, offset, with_file = args
            if not with_file and not flags & MAP_ANONYMOUS:
                return -errno.EBADF
            return mm.mmap(
                addr, length, prot, flags, None if flags & MAP_ANONYMOUS else file, offset >> 12
            )
        if name == "brk":
            return mm.brk((first_brk + args[0]) & (1 << 64) - 1) - first_brk
        if name == "touch":
            mm.copy_to_user(args[0], b"\1")
        else:
            return int(getattr(mm, name)(*args) or 0)
    except LinuxError as error:
        return -error.errno
    return 0


def shape(maps: list[Mapping]) -> list[tuple[int, int, str]]:
    """Extents and rights, what the two are compared by."""
    return [(m.start, m.end, m.perms) for m in maps if m.name != "[vsyscall]"]


def pages(maps: list[Mapping], low: int, high: int) -> dict[int, str]:
    """Rights by page number in [low, high): what stays comparable where VMAs may be cut
    differently.
    """
    return {
        page: m.perms
        for m in maps
        for page in range(max(m.start, low) >> 12, min(m.end, high) >> 12)
    }
