# SPDX-License-Identifier: GPL-2.0-or-later
"""A program's file while somebody runs it: mm->exe_file (v6.18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpu.elf import Executable
    from cpu.fs.files import OpenFile
    from mmu.linux.filemap import MappedFile


@dataclass
class ExeFile:
    """A program that was checked: ``elf`` says what is in it, ``file`` is open, ``image`` has its
    pages.

    Who has one holds a reference: one is taken by get(), the first by who makes it.
    """

    elf: Executable
    file: OpenFile
    image: MappedFile

    @property
    def path(self) -> str:
        """The name that it was started by."""
        return self.elf.path

    @property
    def real_path(self) -> str:
        """Absolute and without links: what ``/proc/self/exe`` names."""
        return self.file.path

    def get(self) -> ExeFile:
        """One more who has it, and may not find it changed: ETXTBSY if somebody may write it."""
        self.file.deny_write_access()
        self.file.users += 1
        self.image.get()
        return self

    def put(self) -> None:
        """One less."""
        self.file.allow_write_access()
        self.image.put()
        self.file.put()
