# SPDX-License-Identifier: GPL-2.0-or-later
"""Who touches what CPUs share without a lock says so: the explorer would else not try both orders.

Writes are found by comparing bytes; reads are not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mmu.linux

FIELDS = {"tlb_gen", "cpu_bitmap", "tlb_flush_pending", "page_table_lock", "is_lazy", "gather"}
"""Fields of an mm or a CPU that other CPUs look at with no lock held."""

EXEMPT = {
    "page_table_lock": "the property that read_once() and write_once() use",
    "flush_tlb_is_local": "only for mm_fast_fault(), which runs where nobody else does",
    "_is_common": "as well",
    "pmd_alloc_waits": "as well",
    "_choose_new_asid": "what its own CPU knows of each ASID",
    "_catch_up": "as well; the mm's it has from _mm_tlb_gen()",
    "try_to_free_pages": "its own CPU's gather",
    "is_lazy": "what write_once() and read_once() use",
}


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted(Path(mmu.linux.__path__[0]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.name}: {node.name}", node


def test_fields_that_are_shared_without_a_lock_are_told() -> None:
    """Each function that names such a field of a C struct calls instrument_read() or _write()."""
    silent = []
    for place, function in _functions():
        inside = list(ast.walk(function))
        touched = {
            node.attr
            for node in inside
            if isinstance(node, ast.Attribute)
            and node.attr in FIELDS
            and (ast.unparse(node.value).endswith((".c", "c", "context", "cpu")))
        }
        told = any(
            isinstance(node, ast.Attribute) and node.attr.startswith("instrument_")
            for node in inside
        )
        if touched and not told and function.name not in EXEMPT:
            silent.append(f"{place} touches {', '.join(sorted(touched))}")
    assert silent == []
