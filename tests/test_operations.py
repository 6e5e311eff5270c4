# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: every operation of the MMU and of the mm has a test file, which names it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mmu.linux.mm import Mm
from mmu.x86 import Mmu

TESTS = Path(__file__).resolve().parent
MMU = {
    "walk": "test_walk",
    "translate": "test_tlb_lookup",
    "refill": "test_refill",
    "page_fault": "test_page_fault",
    "resident": "test_tlb_lookup",
    "entries": "test_tlb_fill",
    "paging_structure_caches": "test_paging_structure_caches",
    "invlpg": "test_invlpg",
    "invpcid": "test_invpcid",
    "invlpgb": "test_invlpgb",
    "write_cr3": "test_mov_cr3",
    "write_cr4": "test_mov_cr4_cr0",
    "write_cr0": "test_mov_cr4_cr0",
    "write_efer": "test_register_writes",
    "write_pat": "test_memory_types",
    "write_pkru": "test_protection_keys",
    "write_pkrs": "test_protection_keys",
    "flush_all": "test_flush_all",
    "tables_changed": "test_soft_flush",
    "soft_flush": "test_soft_flush",
    "take_soft_flush": "test_soft_flush",
    "counters": "test_unit",
}
"""Where each operation of mmu.x86.unit.Mmu is tested, below tests/x86."""
MM = {
    "mmap": "test_mmap",
    "munmap": "test_munmap",
    "mprotect": "test_mprotect",
    "mremap": "test_mremap",
    "brk": "test_brk",
    "vm_brk_flags": "test_brk",
    "madvise": "test_madvise",
    "msync": "test_writeback",
    "mlock": "test_mlock",
    "munlock": "test_mlock",
    "mlockall": "test_mlock",
    "munlockall": "test_mlock",
    "mincore": "test_mincore",
    "mseal": "test_mseal",
    "remap_file_pages": "test_remap_file_pages",
    "setup_arg_pages": "test_stack_growth",
    "install_special_mapping": "test_special_mapping",
    "get_unmapped_area": "test_unmapped_area",
    "exit_mmap": "test_exit_mmap",
    "dup_mm": "test_fork",
    "handle_user_fault": "test_anonymous_fault",
    "copy_from_user": "test_uaccess",
    "copy_to_user": "test_uaccess",
    "strncpy_from_user": "test_uaccess",
    "vm_stats": "test_procfs",
    "counters": "test_anonymous_fault",
    "check_tables": "test_check_tables",
    "collapse_huge_page": "test_khugepaged",
}
"""Where each operation of mmu.linux.mm.Mm is tested, below tests/linux."""


def operations(face: type) -> set[str]:
    """The public methods that the class itself has."""
    return {
        name for name, value in vars(face).items() if callable(value) and not name.startswith("_")
    }


@pytest.mark.parametrize(("face", "files"), [(Mmu, MMU), (Mm, MM)])
def test_every_operation_is_listed(face: type, files: dict[str, str]) -> None:
    assert operations(face) == set(files)


@pytest.mark.parametrize(
    ("folder", "operation", "stem"),
    [("x86", *item) for item in MMU.items()] + [("linux", *item) for item in MM.items()],
)
def test_its_file_names_it_and_says_the_rule(folder: str, operation: str, stem: str) -> None:
    text = (TESTS / folder / f"{stem}.py").read_text()
    assert f".{operation}(" in text or f" {operation}(" in text
    assert (ast.get_docstring(ast.parse(text)) or "").startswith("Rule: ")
