# SPDX-License-Identifier: GPL-2.0-or-later
"""A tree without a machine: a directory of the host's below, an upper layer above."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cpu.cred import Cred
from cpu.fs.files import O_CREAT, O_RDONLY, O_WRONLY, OpenFile
from cpu.fs.host_data import Space
from cpu.fs.inode import InodeTable
from cpu.fs.namei import FileSystem, FsStruct
from cpu.fs.view import Given, View
from mmu.errors import LinuxError
from mmu.linux.state import Kernel
from mmu.memory import Memory

ROOT, USER = Cred.of(0, 0), Cred.of(1000, 1000)


@dataclass
class World:
    """``lower`` is seen as /low, ``writable`` as /out; ``upper`` is the layer."""

    path: Path
    files: int = 1000
    limit: int = 1 << 20
    cred: Cred = ROOT
    now: int = 10**9
    public_only: bool = False
    more: tuple[Given, ...] = ()
    fs: FsStruct = field(init=False)

    def __post_init__(self) -> None:
        for path in (self.lower, self.upper, self.writable):
            path.mkdir(exist_ok=True)

    @property
    def lower(self) -> Path:
        return self.path / "lower"

    @property
    def upper(self) -> Path:
        return self.path / "upper"

    @property
    def writable(self) -> Path:
        return self.path / "writable"

    def begin(self) -> None:
        """Have the tree: what is in ``lower`` by now is below."""
        space = Space(self.limit)
        self.memory = Memory(1 << 24)
        self.inodes = InodeTable(Kernel(self.memory), lambda: self.now, space)
        view = View(
            given=(
                Given("/low", str(self.lower), public_only=self.public_only),
                Given("/out", str(self.writable), writable=True),
                *self.more,
            ),
            fresh=("/tmp",),
            upper=str(self.upper),
            limit=self.limit,
            files=self.files,
        )
        self.tree = FileSystem({}, view, self.inodes, cred=lambda: self.cred)
        self.fs = FsStruct(self.tree)

    def end(self) -> None:
        """Let go of everything."""
        self.inodes.close()
        self.tree.close()
        self.memory.close()

    def open(self, path: str, flags: int = O_RDONLY, mode: int = 0o644) -> OpenFile:
        """Open a file, for one user."""
        file = self.fs.open(path, flags, mode=mode)
        file.users += 1
        return file

    def write(self, path: str, data: bytes, flags: int = O_WRONLY | O_CREAT) -> None:
        """Write the file's first bytes."""
        file = self.open(path, flags)
        try:
            file.write(data)
        finally:
            file.put()

    def read(self, path: str) -> bytes:
        """All of a file."""
        file = self.open(path)
        try:
            return file.read(1 << 20)
        finally:
            file.put()

    def names(self, path: str) -> list[str]:
        """What a directory holds."""
        file = self.open(path)
        try:
            return [entry.name for entry in file.entries()][2:]
        finally:
            file.put()

    def kept(self) -> dict[str, str]:
        """The layer as --keep leaves it: each path and what is there."""
        self.tree_lost = self.tree.keep()
        found = {}
        for folder, _, names in os.walk(self.upper):
            for name in names:
                path = Path(folder) / name
                text = f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text()
                found[str(path.relative_to(self.upper))] = text
            found[str(Path(folder).relative_to(self.upper))] = "directory"
        del found["."]
        return found


@contextmanager
def refused(error: int) -> Iterator[None]:
    """What is done within fails with this error."""
    with pytest.raises(LinuxError) as caught:
        yield
    assert caught.value.errno == error, caught.value
