# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: imports run one way, and the Python engine stands on its own.

``mmu._native`` <- ``mmu.x86`` <- ``mmu.memory``, ``mmu.linux`` <- ``cpu`` <- ``ucmmu``; the Python
engine calls no C of ours but what exists only once: the frame allocator, the index of VMAs, the
event ring, the checker.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmu._native import ffi, lib

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "mmu": ("cpu", "ucmmu", "unicorn", "capstone"),
    "mmu/x86": ("mmu.linux",),
    "mmu/memory": ("mmu.linux", "mmu.x86"),
    "cpu": ("ucmmu",),
}
SHARED = {
    *(
        "memory_init",
        "memory_destroy",
        "alloc_pages",
        "free_pages",
        "put_page",
        "memory_take_code",
        "memory_free_code",
    ),
    *("memory_trim", "memory_release_if_zero"),
    *("set_this_cpu", "note_code_written"),
    *("find_vma", "vma_index_of", "vma_insert", "vma_remove"),
    *("ring_create", "ring_destroy", "ring_emit", "ring_read", "event_ring_full"),
    *("check_begin", "check_end", "check_sync", "check_before", "check_after"),
    *("check_load", "check_table", "check_set_ad", "check_filled", "check_copied"),
    *("check_drop_page", "check_drop_context", "check_drop_tables"),
    "walk_tables",
    *("event_describe", "counter_describe", "mm_counter_describe"),
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def native_calls(path: Path) -> set[str]:
    """Functions of mmu._native.lib that a file names."""
    names = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "lib"
    }
    return {name for name in names if callable(getattr(lib, name, None))}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for name in imports(path):
            for forbidden in FORBIDDEN[package]:
                assert not (name + ".").startswith(forbidden + "."), (
                    f"{path.relative_to(ROOT)} imports {name}"
                )


def test_the_python_engine_calls_no_c_of_its_twin() -> None:
    files = [
        path for part in ("x86", "linux", "memory") for path in (ROOT / "mmu" / part).glob("*.py")
    ]
    assert len(files) > 20
    for path in files:
        assert native_calls(path) <= SHARED, path.name


def test_the_list_of_shared_functions_is_true() -> None:
    assert all(callable(getattr(lib, name)) for name in SHARED)


def test_mmu_loads_without_unicorn() -> None:
    script = (
        "import mmu.linux.mm, mmu.x86, sys;"
        " assert not {'unicorn', 'capstone', 'cpu'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_struct_page_is_32_bytes() -> None:
    assert ffi.sizeof("struct page") == 32
