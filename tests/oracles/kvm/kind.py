# SPDX-License-Identifier: GPL-2.0-or-later
"""Which KVM this host has, and whether a guest's own tables or shadows of them are what the
processor walks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MODULES = Path("/sys/module")
_TWO_LEVEL = {"kvm_intel": "ept", "kvm_amd": "npt"}
"""The parameter that says whether the processor translates guest-physical addresses itself."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A module of KVM.

    ``shadow``: the processor walks tables of KVM's making, so that KVM's software
    (arch/x86/kvm/mmu/paging_tmpl.h in Linux) walks the guest's. Else the processor walks the
    guest's tables.
    """

    module: str
    shadow: bool

    def __str__(self) -> str:
        how = (
            "shadow page tables: the guest's are walked in software"
            if self.shadow
            else "two-level paging"
        )
        return f"{self.module} ({how})"


def find_kind() -> Kind | None:
    """The kind of this host's KVM; None for one that is not known."""
    for module, parameter in _TWO_LEVEL.items():
        path = _MODULES / module / "parameters" / parameter
        if path.is_file():
            return Kind(module, shadow=path.read_text().strip() not in ("Y", "1"))
    if (_MODULES / "kvm_pvm").is_dir():
        return Kind("kvm_pvm", shadow=True)
    return None
