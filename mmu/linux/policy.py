# SPDX-License-Identifier: GPL-2.0-or-later
"""The policies by which empty tables are freed, by name; mmu.linux.policies does what each says
under the Python engine.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from mmu._native import lib
from mmu.errors import MmuError


class FreeTables(Enum):
    """A policy: its name on the command line, its number in ``struct kernel``, what it does."""

    NEVER = (
        "never",
        lib.FREE_TABLES_NEVER,
        "when the addresses around are unmapped (Linux before 6.14)",
    )
    SCAN = (
        "scan",
        lib.FREE_TABLES_SCAN,
        "also when one MADV_DONTNEED clears all 2 MiB (CONFIG_PT_RECLAIM, Linux 6.14)",
    )
    REFCOUNT = (
        "refcount",
        lib.FREE_TABLES_REFCOUNT,
        "when the last entry becomes none, whatever cleared it",
    )
    REFCOUNT_PMDLOCK = (
        "refcount-pmdlock",
        lib.FREE_TABLES_REFCOUNT_PMDLOCK,
        "as refcount, but looked up under the PMD lock and freed without RCU (the series of 2021)",
    )

    def __init__(self, label: str, number: int, meaning: str) -> None:
        """Name the three parts of the value."""
        self.label = label
        self.number = number
        self.meaning = meaning

    @classmethod
    def from_label(cls, label: str) -> FreeTables:
        """Return the policy of this name; KeyError if there is none."""
        return {policy.label: policy for policy in cls}[label]


class FreeLevels(Enum):
    """Up to which level empty tables are freed: the name on the command line, the number in
    ``struct kernel``, what it does.

    More than PTE takes a policy that counts: REFCOUNT, REFCOUNT_PMDLOCK, or one's own.
    """

    PTE = ("pte", lib.FREE_LEVELS_PTE, "PTE tables alone")
    PMD = ("pmd", lib.FREE_LEVELS_PMD, "PTE tables, and PMD tables that have none left")
    PUD = ("pud", lib.FREE_LEVELS_PUD, "PTE, PMD and PUD tables")

    def __init__(self, label: str, number: int, meaning: str) -> None:
        """Name the three parts of the value."""
        self.label = label
        self.number = number
        self.meaning = meaning

    @classmethod
    def from_label(cls, label: str) -> FreeLevels:
        """Return the levels of this name; KeyError if there are none."""
        return {levels.label: levels for levels in cls}[label]


def check_free_levels(label: str, number: int, levels: FreeLevels) -> None:
    """Raise MmuError if the policy of this name and number does not count, so that it cannot free
    such tables.
    """
    if levels is not FreeLevels.PTE and number < lib.FREE_TABLES_REFCOUNT:
        raise MmuError(
            f"empty {levels.label.upper()} tables can be freed only where references are counted:"
            f" by refcount or refcount-pmdlock, not by {label}"
        )


C = TypeVar("C", bound=type)
_MADE_BY: dict[FreeTables, Callable[[Any], Any]] = {}


def made_by(policy: FreeTables) -> Callable[[C], C]:
    """The class below is the policy under the Python engine."""

    def decorate(cls: C) -> C:
        _MADE_BY[policy] = cls
        return cls

    return decorate


def class_of(policy: FreeTables) -> Callable[[Any], Any]:
    """The class of a policy, whose objects are made of a Kernel; mmu.linux.policies has them."""
    return _MADE_BY[policy]
