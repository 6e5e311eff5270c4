# SPDX-License-Identifier: GPL-2.0-or-later
"""System V IPC: shared memory, semaphores, messages (ipc/ of Linux v6.18)."""
