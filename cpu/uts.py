# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of the machine: uname(2) (kernel/utsname.c, v6.18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NEW_UTS_LEN: Final = 64
"""Bytes of the longest of the names."""


@dataclass
class UtsNamespace:
    """struct new_utsname; a privileged guest may change ``nodename`` and ``domainname``."""

    sysname: bytes = b"Linux"
    nodename: bytes = b"localhost"
    """A name that /etc/hosts has on every host: programs look their own one up."""
    release: bytes = b"6.18.0"
    version: bytes = b"#1 SMP PREEMPT_DYNAMIC"
    machine: bytes = b"x86_64"
    domainname: bytes = b"(none)"

    def pack(self) -> bytes:
        """The six names, as uname() writes them."""
        names = (
            self.sysname,
            self.nodename,
            self.release,
            self.version,
            self.machine,
            self.domainname,
        )
        return b"".join(name.ljust(NEW_UTS_LEN + 1, b"\0") for name in names)
