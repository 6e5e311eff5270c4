# SPDX-License-Identifier: GPL-2.0-or-later
"""What stat(2) and statx(2) say of a file (include/linux/stat.h, fs/stat.c, v6.18)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID = 0x7FF, 0x800, 0x1000
STATX_ATTR_MOUNT_ROOT: Final = 0x2000
BLOCK_SIZE: Final = 4096
"""st_blksize."""
_NS: Final = 1_000_000_000
_STAT = struct.Struct("<QQQIIIIQqqqqqqqqq24x")
_STATX = struct.Struct("<IIQIIIHxxQQQQ" + "qIxxxx" * 4 + "IIIIQ" + "104x")


@dataclass
class Kstat:
    """A struct kstat. ``mode`` has the S_IFMT bits; times are nanoseconds since 1970; ``blocks``
    are of 512 bytes. ``btime`` None: nobody knows.
    """

    mode: int
    ino: int
    dev: int = 1
    nlink: int = 1
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    size: int = 0
    blocks: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    btime: int | None = None
    mnt_id: int = 1
    mount_root: bool = False

    @classmethod
    def of_host(cls, info: os.stat_result) -> Kstat:
        """What the host says of a file of its own."""
        return cls(
            mode=info.st_mode,
            ino=info.st_ino,
            dev=info.st_dev,
            nlink=info.st_nlink,
            uid=info.st_uid,
            gid=info.st_gid,
            rdev=info.st_rdev,
            size=info.st_size,
            blocks=info.st_blocks,
            atime=info.st_atime_ns,
            mtime=info.st_mtime_ns,
            ctime=info.st_ctime_ns,
        )

    def pack(self) -> bytes:
        """Struct stat, 144 bytes."""
        times = (part for ns in (self.atime, self.mtime, self.ctime) for part in divmod(ns, _NS))
        return _STAT.pack(
            self.dev,
            self.ino,
            self.nlink,
            self.mode,
            self.uid,
            self.gid,
            0,
            self.rdev,
            self.size,
            BLOCK_SIZE,
            self.blocks,
            *times,
        )

    def pack_statx(self) -> bytes:
        """Struct statx, 256 bytes, with all that is known, as Linux gives it unasked."""
        mask = STATX_BASIC_STATS | STATX_MNT_ID | (0 if self.btime is None else STATX_BTIME)
        times = (self.atime, self.btime or 0, self.ctime, self.mtime)
        return _STATX.pack(
            mask,
            BLOCK_SIZE,
            STATX_ATTR_MOUNT_ROOT if self.mount_root else 0,
            self.nlink,
            self.uid,
            self.gid,
            self.mode,
            self.ino,
            self.size,
            self.blocks,
            STATX_ATTR_MOUNT_ROOT,
            *(part for ns in times for part in divmod(ns, _NS)),
            os.major(self.rdev),
            os.minor(self.rdev),
            os.major(self.dev),
            os.minor(self.dev),
            self.mnt_id,
        )
