# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut the cffi declarations out of our C headers, so that each is written once.

A header gives Python what stands between ``/* cffi-begin */`` and ``/* cffi-end */``.
cffi compares every layout and constant with the compiled C when the module is built.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable
from pathlib import Path

NATIVE = Path(__file__).resolve().parent
ROOT = NATIVE.parent

_BLOCK = re.compile(r"/\* cffi-begin \*/(.*?)/\* cffi-end \*/", re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r'^#include "([^"]+\.h)"', re.MULTILINE)
_DEFINE = re.compile(r"^#define[ \t]+(\w+)[ \t]+(.+?)[ \t]*$", re.MULTILINE)
_LITERAL = re.compile(r"-?(0x[0-9a-fA-F]+|[0-9]+)")
_FUNCTION = re.compile(r"^(?!typedef|#)[\w][\w \t*]*?\b(\w+)\([^;{}]*\);", re.MULTILINE)
_TABLE = re.compile(r"^(EVENT|COUNTER|MM_COUNTER|KERNEL_COUNTER)\(", re.MULTILINE)

COMPILE_ARGS = [
    *("-std=c11", "-O2", "-g", "-fvisibility=hidden", "-fno-strict-aliasing"),
    # zeroing a frame: libc's memset beats an inline rep stos
    "-mmemset-strategy=libcall:-1:noalign",
]
MACROS = [("_GNU_SOURCE", "1")]
LINK_ARGS = ["-pthread"]

if sanitizers := os.environ.get("UCMMU_SANITIZE"):
    COMPILE_ARGS += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer"]
    LINK_ARGS += [f"-fsanitize={sanitizers}"]


def unicorn_include() -> str:
    """The folder of the headers that the installed unicorn package carries."""
    spec = importlib.util.find_spec("unicorn")
    if spec is None or spec.origin is None:
        raise SystemExit("building cpu._engine needs unicorn's headers: pip install unicorn==2.1.4")
    return str(Path(spec.origin).parent / "include")


def relative(paths: Iterable[Path]) -> list[str]:
    """Paths as setuptools wants them: sorted, relative to the project, with slashes."""
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def sources(*folders: str) -> list[str]:
    """Every C file of these folders of native/."""
    return relative(path for folder in folders for path in (NATIVE / folder).rglob("*.c"))


def inputs() -> list[str]:
    """What of native/ a rebuild depends on besides the C files themselves."""
    return relative(
        path for pattern in ("**/*.h", "**/*.def", "*.py") for path in NATIVE.glob(pattern)
    )


def in_include_order(folders: Iterable[str]) -> list[Path]:
    """types.h and the headers of these folders, each after those it includes."""
    wanted = [NATIVE / "types.h"]
    wanted += [path for folder in folders for path in sorted((NATIVE / folder).glob("*.h"))]
    order: list[Path] = []

    def visit(path: Path) -> None:
        if path in order or path not in wanted:
            return
        for name in _INCLUDE.findall(path.read_text()):
            visit(NATIVE / name)
        order.append(path)

    for path in wanted:
        visit(path)
    return order


def table_sizes() -> str:
    """NR_EVENTS, NR_COUNTERS, NR_MM_COUNTERS, NR_KERNEL_COUNTERS, counted in events.def."""
    kinds = _TABLE.findall(_COMMENT.sub("", (NATIVE / "trace/events.def").read_text()))
    names = ("EVENT", "COUNTER", "MM_COUNTER", "KERNEL_COUNTER")
    return "".join(f"#define NR_{name}S {kinds.count(name)}\n" for name in names)


def declarations(paths: Iterable[Path]) -> str:
    """The text for ``ffi.cdef()`` of these headers."""
    text = "".join(block for path in paths for block in _BLOCK.findall(path.read_text()))
    return _DEFINE.sub(_constant, _COMMENT.sub("", text))


def _constant(define: re.Match[str]) -> str:
    """Leave a literal to cffi, which compares it; let the compiler tell any other value."""
    name, value = define.groups()
    return f"#define {name} {value if _LITERAL.fullmatch(value) else '...'}"


def includes(paths: Iterable[Path]) -> str:
    """The #include lines of these headers."""
    return "".join(f'#include "{path.relative_to(NATIVE).as_posix()}"\n' for path in paths)


def functions(cdef: str) -> list[str]:
    """Names of the functions that a cdef declares."""
    return _FUNCTION.findall(cdef)


def require_defined(cdef: str, files: Iterable[str]) -> None:
    """End the build here, by name, if a declared function is defined nowhere; the linker would not.

    A definition is known by starting in the first column.
    """
    text = "\n".join((ROOT / file).read_text() for file in files)
    missing = [
        name
        for name in functions(cdef)
        if not re.search(rf"^\w[\w \t*]*\b{name}\(", text, re.MULTILINE)
    ]
    if missing:
        raise SystemExit(f"declared in a header but defined in no C file: {', '.join(missing)}")
