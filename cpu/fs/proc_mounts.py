# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/mountinfo, mounts and mountstats (fs/proc_namespace.c, v6.18), of the one namespace of
mounts that there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Mount:
    """A mount as /proc tells of it. ``options`` are those of the mount itself, ``super_options``
    those of its file system; ``minor`` is of its device, whose major number is 0.
    """

    number: int
    parent: int
    minor: int
    point: str
    kind: str
    source: str
    options: str = "rw,relatime"
    super_options: str = "rw"


MOUNTS: Final = (
    Mount(22, 1, 21, "/", "overlay", "overlay"),
    Mount(23, 22, 22, "/proc", "proc", "proc", "rw,nosuid,nodev,noexec,relatime"),
    Mount(24, 22, 23, "/sys", "sysfs", "sysfs", "ro,nosuid,nodev,noexec,relatime", "ro"),
    Mount(25, 22, 24, "/dev", "tmpfs", "tmpfs", "rw,nosuid", "rw,mode=755"),
)
"""What is made up, over what was given."""


def mountinfo() -> str:
    """/proc/PID/mountinfo."""
    return "".join(
        f"{m.number} {m.parent} 0:{m.minor} / {m.point} {m.options} -"
        f" {m.kind} {m.source} {m.super_options}\n"
        for m in MOUNTS
    )


def mounts() -> str:
    """/proc/PID/mounts, as /etc/mtab."""
    return "".join(f"{m.source} {m.point} {m.kind} {_joined(m)} 0 0\n" for m in MOUNTS)


def _joined(mount: Mount) -> str:
    """The options of the file system and of the mount, each once."""
    options = [*mount.super_options.split(","), *mount.options.split(",")]
    if "ro" in options:
        options = ["ro", *(option for option in options if option != "rw")]
    return ",".join(dict.fromkeys(options))


def mountstats() -> str:
    """/proc/PID/mountstats."""
    return "".join(f"device {m.source} mounted on {m.point} with fstype {m.kind}\n" for m in MOUNTS)
