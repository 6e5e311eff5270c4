# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the type checker sees of a C extension what its headers declare."""

from __future__ import annotations

import ast
import keyword
import re
import subprocess
import sys
from pathlib import Path

import cffi
import pytest

import cpu._engine
import mmu._native
from native import stubs

ROOT = Path(__file__).resolve().parent.parent
MODULES = {"mmu/_native.pyi": mmu._native, "cpu/_engine.pyi": cpu._engine}


def classes(path: str) -> dict[str, set[str]]:
    """Names in each class of a stub."""
    return {
        node.name: {
            each.target.id if isinstance(each, ast.AnnAssign) else each.name
            for each in node.body
            if isinstance(each, (ast.AnnAssign, ast.FunctionDef))
        }
        for node in ast.parse((ROOT / path).read_text()).body
        if isinstance(node, ast.ClassDef)
    }


def test_they_are_current() -> None:
    assert stubs.stale() == [], "run: make build"


def test_another_header_makes_them_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    ffi = cffi.FFI()
    ffi.cdef("int added(void);")
    monkeypatch.setattr(stubs.build_engine, "ffi", ffi)
    assert stubs.stale() == ["cpu/_engine.pyi"]


@pytest.mark.parametrize("path", MODULES)
def test_they_name_what_was_compiled(path: str) -> None:
    """Constants and functions of lib, and the fields of every struct but Python's keywords."""
    module, told = MODULES[path], classes(path)
    assert told["Lib"] == set(dir(module.lib))
    for name, fields in told.items():
        if name.startswith("struct_") and fields:
            kind = module.ffi.typeof(name.replace("_", " ", 1))
            named = {field for field, _ in kind.fields if field}
            assert {field for field in named if not keyword.iskeyword(field)} <= fields, name


def test_a_declaration_of_each_kind() -> None:
    ffi = cffi.FFI()
    ffi.cdef("""
        #define LIMIT 3
        struct opaque;
        struct node {
            uint32_t count;
            struct { struct node *next; };
            union { char tag; int64_t nr[LIMIT]; };
            void *arg;
            void (*full)(struct node *);
            uint8_t global;
        };
        _Bool find(const struct node *in, uint64_t *at, struct opaque *, const char *name);
        void stop(void);
    """)
    text = stubs.stub(ffi, "m", "")
    assert "    LIMIT: Final[int]\n" in text
    assert "class struct_opaque(Struct[struct_opaque_ptr]): ...\n" in text
    assert (
        "class struct_node(Struct[struct_node_ptr]):\n"
        "    count: int\n"
        "    next: struct_node_ptr\n"
        "    tag: bytes\n"
        "    nr: Array[int]\n"
        "    arg: CData\n"
        "    full: Callable[[struct_node_ptr], None]\n"
        "\n"
        "class struct_node_ptr(struct_node, Ptr[struct_node]): ...\n"
    ) in text
    assert "    def stop(self) -> None: ...\n" in text
    assert (
        "    def find(\n"
        "        self,\n"
        "        in_: struct_node_ptr | Array[struct_node],\n"
        "        at: Ptr[int],\n"
        "        arg2: struct_opaque_ptr,\n"
        "        name: Ptr[bytes],\n"
        "        /,\n"
        "    ) -> bool: ...\n"
    ) in text


def test_the_type_checker_sees_mistakes(tmp_path: Path) -> None:
    """Each line with the one error that mypy must report there; the first ones have none."""
    pytest.importorskip("mypy")
    cases = [
        ("from mmu._native import ffi, lib", ""),
        ("memory = ffi.new('struct memory *')", ""),
        ("lib.alloc_pages(memory, 0, False) + memory.free_head[1]", ""),
        ("ffi.new('struct page[]', 2)[1].flags += lib.PG_table", ""),
        ("memory.ring = ffi.NULL", ""),
        ("lib.alloc_pages(memory, 0)", "call-arg"),
        ("lib.memory_destroy(ffi.new('struct walk *'))", "arg-type"),
        ("lib.memory_destroy(memory.pages[0])", "arg-type"),
        ("memory.nr_fre", "attr-defined"),
        ("memory.base = 'low'", "assignment"),
        ("lib.alloc_page", "attr-defined"),
    ]
    code = tmp_path / "code.py"
    code.write_text("".join(f"{line}\n" for line, _ in cases))
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--no-pretty", str(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = dict(re.findall(r"code\.py:(\d+): error: .*\[([\w-]+)\]", ended.stdout))
    wanted = {str(i): error for i, (_, error) in enumerate(cases, 1) if error}
    assert found == wanted, ended.stdout
