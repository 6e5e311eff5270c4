# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening a host's file by one name in a directory that is held open: openat2(2).

The host's kernel itself sees to it that the name leads nowhere else: no link is followed, nothing
above or outside of the directory is reached, whatever the name says.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

from mmu.errors import LinuxError

_NR_OPENAT2: Final = 437
_RESOLVE: Final = 0x02 | 0x04 | 0x08
"""RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH."""
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(directory: int, name: str, flags: int, mode: int = 0) -> int:
    """A new descriptor of the entry ``name`` of the directory; O_CLOEXEC and O_NOFOLLOW are added.

    Raises LinuxError: as open() would, ELOOP for a link without O_PATH, EXDEV for a name that leads
    out. Where the host's kernel has no openat2(), a name with a slash and ``..`` are refused here.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    how = _OpenHow(flags, mode, _RESOLVE)
    encoded = os.fsencode(name)
    while True:
        fd = _libc.syscall(
            ctypes.c_long(_NR_OPENAT2),
            ctypes.c_int(directory),
            ctypes.c_char_p(encoded),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return int(fd)
        error = ctypes.get_errno()
        if error == errno.ENOSYS:
            return _open_one_name(directory, name, flags, mode)
        if error != errno.EAGAIN and error != errno.EINTR:
            raise LinuxError(errno.ENFILE if error == errno.EMFILE else error)


def _open_one_name(directory: int, name: str, flags: int, mode: int) -> int:
    if "/" in name or name in ("", "..") or "\0" in name:
        raise LinuxError(errno.EXDEV)
    try:
        return os.open(name, flags, mode, dir_fd=directory)
    except OSError as error:
        raise host_error(error) from None


def host_error(error: OSError) -> LinuxError:
    """The host's error, as a guest is told it: a host without descriptors is a system without."""
    number = error.errno or errno.EIO
    return LinuxError(errno.ENFILE if number == errno.EMFILE else number)
