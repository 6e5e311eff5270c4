# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: flags of the memory system calls have the numbers of the host's <sys/mman.h>."""

from __future__ import annotations

from pathlib import Path

from mmu.linux import mman
from tests import c_constants

PREFIXES = ("MAP_", "MADV_", "MCL_", "MLOCK_", "MREMAP_", "PROT_", "MS_")
NEWER = {"MAP_ABOVE4G", "MADV_GUARD_INSTALL", "MADV_GUARD_REMOVE", "MAP_DROPPABLE"}
"""Which an old host's headers may lack."""


def test_numbers_are_linuxs(tmp_path: Path) -> None:
    ours = {
        name: value
        for name, value in vars(mman).items()
        if name.startswith(PREFIXES) and isinstance(value, int)
    }
    headers = c_constants.values(tmp_path, ["sys/mman.h", "linux/mman.h"], ours)
    assert len(headers) > 30
    assert {name: ours[name] for name in headers} == headers
    assert set(ours) - set(headers) <= NEWER
