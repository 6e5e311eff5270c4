# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting a program in a task (fs/exec.c, v6.18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cpu.binfmt_elf import Identity, load_elf_binary
from cpu.task import Task

HWCAP: Final = 0x78BFBFD
"""EDX of CPUID leaf 1 as the vCPU's model answers it."""


def begin_program(task: Task, argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Lay the process's program out in the task's address space, which is empty and loaded, and
    have the task stand at its first instruction. Raises ElfError.
    """
    identity = Identity(task.uid, task.gid, task.system.random.randbytes(16), HWCAP)
    process = task.process
    start = load_elf_binary(task.mm, process.exe, process.image, argv, env, identity)
    task.vcpu.enter_user(start.rip, start.rsp)
