# SPDX-License-Identifier: GPL-2.0-or-later
"""Build programs whose threads are CPUs: all of ``mmu._native``'s C files with UCMMU_SMP defined
(native/smp.h), and a program's own. What is built lies below build/smp and is built anew where a
source or a header has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from native import cdef

BUILD = cdef.ROOT / "build" / "smp"
FOLDERS = ("trace", "memory", "x86", "mm")
FLAGS = [
    *("-std=c11", "-O2", "-g", "-pthread", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror"),
    *("-D_GNU_SOURCE=1", "-DUCMMU_SMP"),
]


class NotBuilt(Exception):
    """The compiler or the linker refuses; its own words."""


@dataclass(frozen=True)
class Program:
    """A program of threads: a folder with C files of its own, and what the linker leads to them."""

    name: str
    folder: Path
    sources: tuple[str, ...]
    """Its files in the folder."""
    wraps: tuple[str, ...] = ()
    """Functions whose calls between files go to the program's __wrap_NAME() first."""
    include: tuple[Path, ...] = ()
    """Folders besides its own and native/ in which its headers stand."""


def build(
    program: Program,
    *,
    sanitize: str = "",
    changed: Mapping[str, str] | None = None,
    compiler: str | None = None,
) -> Path:
    """The path of the program, built if need be.

    ``sanitize`` is what -fsanitize= takes. ``changed`` gives C files of native/, by their path
    below it, and the program's own, by their name, another text: for tests that a defect is found.
    One process builds, others wait. NotBuilt if it cannot be built.
    """
    changed = changed or {}
    cc = compiler or os.environ.get("CC", "gcc")
    flags = [*FLAGS, *([f"-fsanitize={sanitize}", "-fno-omit-frame-pointer"] if sanitize else [])]
    if sanitize:
        flags += ["-O1", "-g1"]  # sooner built, and the stacks that it prints can be read
    kind = sanitize.replace(",", "-") or "plain"
    with _locked(f"{program.name}-{kind}"):
        looked_in = [cdef.NATIVE, program.folder, *program.include]
        commands = _Commands(cc, [*flags, *(f"-I{folder}" for folder in looked_in)])
        common = [cdef.NATIVE / path for path in _sources() if path not in changed]
        own = [program.folder / name for name in program.sources if name not in changed]
        objects = [(path, BUILD / kind / _object(path)) for path in (*common, *own)]
        target = BUILD / kind / program.name
        for text in changed.values():
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            copy = BUILD / kind / f"{digest}.c"
            target = target.with_name(f"{target.name}-{digest}")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
            objects.append((copy, copy.with_suffix(".o")))
        commands.compile(objects, _newest_header(looked_in[1:]))
        commands.link([made for _, made in objects], target, program.wraps)
    return target


def _sources() -> list[str]:
    files = cdef.sources(*FOLDERS)
    return [str(Path(file).relative_to("native")) for file in files]


def _object(path: Path) -> str:
    return "_".join(path.relative_to(cdef.ROOT).parts) + ".o"


def _newest_header(folders: Sequence[Path]) -> float:
    headers = [cdef.ROOT / path for path in cdef.inputs()]
    own = [path for folder in folders for path in folder.glob("*.h")]
    return max(path.stat().st_mtime for path in [*headers, *own])


@contextmanager
def _locked(name: str) -> Iterator[None]:
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class _Commands:
    """The compiler and its flags."""

    cc: str
    flags: Sequence[str]

    def run(self, *arguments: str) -> None:
        done = subprocess.run(
            [self.cc, *self.flags, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NotBuilt(done.stderr.strip())

    def compile(self, objects: Sequence[tuple[Path, Path]], headers: float) -> None:
        """Make each object that is older than its source or a header, two at a time."""
        stale = [
            (source, made)
            for source, made in objects
            if not made.exists() or made.stat().st_mtime < max(source.stat().st_mtime, headers)
        ]

        def one(pair: tuple[Path, Path]) -> None:
            source, made = pair
            made.parent.mkdir(parents=True, exist_ok=True)
            self.run("-c", str(source), "-o", str(made))

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(one, stale))

    def link(self, objects: Sequence[Path], target: Path, wraps: Sequence[str]) -> None:
        newest = max(made.stat().st_mtime for made in objects)
        if target.exists() and target.stat().st_mtime >= newest:
            return
        wrapped = [f"-Wl,--wrap={name}" for name in wraps]
        self.run(*wrapped, *map(str, objects), "-o", str(target))
