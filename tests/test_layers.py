# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: imports and calls run one way, and the Python engine stands on its own.

``mmu._native`` <- ``mmu.x86`` <- ``mmu.memory``, ``mmu.linux`` <- ``cpu`` <- ``ucmmu``; the Python
engine calls no C of ours but what exists only once: the frame allocator, the index of VMAs, the
event ring, the checker.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmu._native import ffi, lib
from native import cdef
from tests.circles import Objects, circle, python_graph

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
    *("memory_load", "memory_exchange", "memory_flags"),
    "vma_tell",
    *("set_this_cpu", "note_code_written", "note_code_stored", "note_code_fetched"),
    *("find_vma", "vma_index_of", "vma_insert", "vma_remove"),
    *("vma_detach", "vma_free", "vma_start_read", "vma_end_read", "lock_vma_under_rcu"),
    *("ring_create", "ring_destroy", "ring_emit", "ring_read", "event_ring_full"),
    *("kernel_wait_for_lock", "kernel_run_calls", "kernel_flush_others"),
    *("kernel_sync_one", "kernel_lockdep"),
    *("local_irq_save", "local_irq_restore"),
    *("check_begin", "check_end", "check_sync", "check_before", "check_after"),
    "check_speculation",
    *("check_load", "check_table", "check_set_ad", "check_filled", "check_copied"),
    *("check_drop_page", "check_drop_context", "check_drop_tables"),
    *("walk_tables", "smap_gather_stats"),
    *("event_describe", "counter_describe", "mm_counter_describe", "kernel_counter_describe"),
}

PYTHON_FOLDERS = [
    "mmu",
    "mmu/linux",
    "mmu/memory",
    "mmu/x86",
    "mmu/x86/replacement",
    "cpu",
    "cpu/fs",
    "cpu/futex",
    "cpu/syscalls",
    "ucmmu",
    "ucmmu/race",
    "ucmmu/reading",
    "ucmmu/sweep",
]
C_FOLDERS = [
    "native/trace",
    "native/memory",
    "native/x86",
    "native/x86/replacement",
    "native/mm",
    "native/unicorn",
    "native/host",
]


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


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """All of native/, compiled."""
    files = (ROOT / "native").rglob("*.c")
    return Objects(ROOT, files, tmp_path_factory.mktemp("objects"), [cdef.unicorn_include()])


@pytest.mark.parametrize("folder", PYTHON_FOLDERS)
def test_no_circle_among_the_python_files_of_a_folder(folder: str) -> None:
    graph = python_graph(ROOT, folder)
    assert any(graph.values())
    assert not (found := circle(graph)), f"a circle in {folder}:\n{found}"


@pytest.mark.parametrize("folder", C_FOLDERS)
def test_no_circle_among_the_c_files_of_a_folder(objects: Objects, folder: str) -> None:
    graph = objects.graph(folder)
    assert graph
    assert not (found := circle(graph)), f"a circle in {folder}:\n{found}"


def test_the_page_lists_the_files_of_the_hooks_lowest_first(objects: Objects) -> None:
    graph = objects.graph("native/unicorn")
    page = (ROOT / "docs" / "hooks.md").read_text()
    listed = re.findall(r"`(\w+)`", page.split("test_layers.py` holds that.\n\n")[1])
    assert sorted(listed) == sorted(file[:-2] for file in graph if file.endswith(".c"))
    for number, file in enumerate(listed):
        above = {f"{other}.c" for other in listed[:number]}
        assert {name for name in graph[f"{file}.c"] if name.endswith(".c")} <= above, file


def test_c_calls_run_one_way(objects: Objects) -> None:
    """trace <- memory <- x86 <- mm, and the hooks of Unicorn call the rest by tables only."""
    order = ["trace", "memory", "x86", "mm", "unicorn"]
    seen = set()
    for path, other, why in objects.calls():
        if not path.is_relative_to(ROOT / "native") or not other.is_relative_to(ROOT / "native"):
            continue
        one, two = (file.relative_to(ROOT / "native").parts[0] for file in (path, other))
        if one in order and two in order:
            seen.add((one, two))
            assert order.index(two) <= order.index(one), f"{path} -> {other}: {why}"
            assert one == two or one != "unicorn" or other.suffix == ".h", f"{path}: {why}"
    assert ("mm", "x86") in seen


def test_a_circle_of_python_files_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "mmu/x86", tmp_path / "mmu/x86")
    assert not circle(python_graph(tmp_path, "mmu/x86"))
    entries = tmp_path / "mmu/x86/entries.py"
    entries.write_text(f"{entries.read_text()}\nif TYPE_CHECKING:\n    from mmu.x86 import unit\n")
    found = circle(python_graph(tmp_path, "mmu/x86"))
    assert found and "entries.py -> unit.py: line " in found


@pytest.mark.parametrize(
    "step",
    [
        "from mmu.x86.b import name",
        "import mmu.x86.b",
        "from mmu.x86 import b",
        "from . import b",
        "from .b import name",
        "def f():\n    from ..x86 import b",
    ],
)
def test_each_way_to_import_is_a_step(tmp_path: Path, step: str) -> None:
    folder = tmp_path / "mmu/x86"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(step)
    (folder / "b.py").write_text("import mmu.x86.a")
    assert circle(python_graph(tmp_path, "mmu/x86"))


@pytest.mark.parametrize(
    "step",
    [
        "void one(void) { two(); }",
        "void *one(void) { return (void *)two; }",  # only pointed to
        '#include "x/three.h"\nvoid one(void) { three(); }',  # by an inline function of a header
    ],
)
def test_a_circle_of_c_files_is_found(tmp_path: Path, step: str) -> None:
    folder = tmp_path / "native/x"
    folder.mkdir(parents=True)
    (folder / "three.h").write_text("void two(void);\nstatic inline void three(void) { two(); }\n")
    (folder / "one.c").write_text(f"void two(void);\n{step}\n")
    (folder / "two.c").write_text("void one(void);\nvoid two(void) { one(); }\n")
    files = list(folder.glob("*.c"))
    (tmp_path / "out").mkdir()
    found = circle(Objects(tmp_path, files, tmp_path / "out", []).graph("native/x"))
    assert found and "two.c -> one.c: line 2 calls one" in found


def test_a_header_that_calls_its_user_is_a_circle(tmp_path: Path) -> None:
    folder = tmp_path / "native/x"
    folder.mkdir(parents=True)
    (folder / "one.h").write_text("void two(void);\nstatic inline void one(void) { two(); }\n")
    (folder / "two.c").write_text(
        '#include "x/one.h"\nvoid two(void) {}\nvoid f(void) { one(); }\n'
    )
    (tmp_path / "out").mkdir()
    found = circle(Objects(tmp_path, [folder / "two.c"], tmp_path / "out", []).graph("native/x"))
    assert found and "one.h -> two.c: line 2 calls two" in found


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
