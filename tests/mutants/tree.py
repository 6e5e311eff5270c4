# SPDX-License-Identifier: GPL-2.0-or-later
"""A copy of the tree to put mutants into, with a quick build of ``mmu._native``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("mmu", "native", "tests", "ucmmu", "pyproject.toml")
"""What the tests of the MMU need."""
FOLDERS = ("trace", "mm", "x86")
FLAGS = (
    "-std=c11",
    "-O1",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-D_GNU_SOURCE=1",
    "-Inative",
)
PYTHON = ("-isystem", sysconfig.get_path("include"))


class NotBuilt(Exception):
    """The compiler refuses the mutant: it is no mutant, but a mistake in the list."""


class Tree:
    """The copy. ``build()`` or ``take_built()`` first; then with mutated(): one mutant at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.o")
                )
            else:
                shutil.copy2(source, path / name)
        self._objects = path / "build" / "mutants"
        self._extension = path / "mmu" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
        self._needs: dict[Path, set[str]] = {}

    def build(self) -> None:
        """Compile everything once, keep the objects, and learn which header each of them needs."""
        self._objects.mkdir(parents=True)
        wrapper = self._objects / "_native.c"
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"from native import build_mmu; build_mmu.ffi.emit_c_code({str(wrapper)!r})",
            ],
            cwd=self.path,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": "."},
        )
        sources = [wrapper]
        sources += [
            source
            for name in FOLDERS
            for source in sorted((self.path / "native" / name).glob("*.c"))
        ]
        for source in sources:
            self._compile(source, self._object_of(source))
            self._needs[source] = self._included_by(source)
        self._link({})

    def take_built(self) -> None:
        """Take the extension of the checkout: enough for mutants of the Python engine."""
        for built in (ROOT / "mmu").glob("_native.*.so"):
            shutil.copy2(built, self.path / "mmu")

    def _object_of(self, source: Path) -> Path:
        return self._objects / f"{source.parent.name}_{source.stem}.o"

    def _compile(self, source: Path, output: Path) -> None:
        command = [os.environ.get("CC", "gcc"), *FLAGS, *PYTHON, "-c"]
        done = subprocess.run(
            [*command, str(source), "-o", str(output)],
            cwd=self.path,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise NotBuilt(done.stderr)

    def _included_by(self, source: Path) -> set[str]:
        command = [os.environ.get("CC", "gcc"), *FLAGS, *PYTHON, "-MM", str(source)]
        listed = subprocess.run(
            command, cwd=self.path, capture_output=True, text=True, check=True
        ).stdout
        names = {Path(word) for word in listed.replace("\\\n", " ").split()[1:]}
        return {str(name.relative_to(self.path) if name.is_absolute() else name) for name in names}

    def _link(self, instead: dict[Path, Path]) -> None:
        objects = [instead.get(source, self._object_of(source)) for source in self._needs]
        self._extension.unlink(missing_ok=True)  # a process may have the old one mapped
        subprocess.run(
            [
                os.environ.get("CC", "gcc"),
                "-shared",
                *map(str, objects),
                "-o",
                str(self._extension),
            ],
            check=True,
        )

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The tree with the mutant in it, built."""
        file = self.path / mutant.file
        text, times = file.read_text(), file.stat()
        file.write_text(mutant.applied_to(text))
        try:
            if mutant.engine == "c":
                # No younger than it was, so that nothing else is built anew by its date.
                os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
                self._build_with(mutant)
            yield
        finally:
            file.write_text(text)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            if mutant.engine == "c":
                self._link({})

    def _build_with(self, mutant: Mutant) -> None:
        instead = {}
        for source, needs in self._needs.items():
            if mutant.file in needs and source.name != "_native.c":
                instead[source] = self._objects / f"mutant_{source.stem}.o"
                self._compile(source, instead[source])
        self._link(instead)
