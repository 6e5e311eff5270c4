# SPDX-License-Identifier: GPL-2.0-or-later
"""The NUMA policy of a task (mm/mempolicy.c, v6.18)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mempolicy:
    """struct mempolicy of a task: ``mode`` with its MPOL_F_*_NODES flags, and a mask of nodes."""

    mode: int
    nodes: int
