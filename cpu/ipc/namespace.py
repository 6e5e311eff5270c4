# SPDX-License-Identifier: GPL-2.0-or-later
"""All of a machine's IPC with keys or names: struct ipc_namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpu.ipc.mqueue import MqueueNames
from cpu.ipc.msg import MessageQueues
from cpu.ipc.sem import Semaphores
from cpu.ipc.shm import SharedMemory

if TYPE_CHECKING:
    from cpu.task import System


class IpcNamespace:
    """Segments, sets of semaphores, queues of both kinds."""

    def __init__(self, system: System) -> None:
        self.shm = SharedMemory(system)
        self.sem = Semaphores(system)
        self.msg = MessageQueues(system)
        self.mqueue = MqueueNames(system)

    def close(self) -> None:
        """The machine ends: give memory back."""
        self.shm.close()
