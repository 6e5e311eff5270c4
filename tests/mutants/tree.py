# SPDX-License-Identifier: GPL-2.0-or-later
"""A copy of the project to put mutants into, with a quick build of its C extensions."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.mutants.syntax import Mutant

ROOT = Path(__file__).resolve().parents[2]
_NOT_COPIED = (
    ".git",
    ".venv",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "*.so",
    "*.o",
    "*.egg-info",
)
_COMPILER = os.environ.get("CC", "gcc")
_EXTENSIONS = """
import contextlib, importlib.util, json, pathlib, sys
for path in sorted(pathlib.Path("native").glob("build_*.py")):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with contextlib.redirect_stdout(sys.stderr):
        made = module.ffi.distutils_extension("build/mutants", verbose=False)
    macros = [f"-D{name}={value}" for name, value in made.define_macros]
    folders = [f"-I{name}" for name in made.include_dirs]
    print(json.dumps([made.name, made.sources, [*made.extra_compile_args, *macros, *folders]]))
"""


class NotBuilt(Exception):
    """The compiler refuses the mutant."""


class Unchanged(Exception):
    """The compiler makes the same machine code of the mutant: it is equivalent."""


@dataclass(slots=True)
class _Extension:
    """One C extension: where it goes, its flags, and of each source the files that it includes."""

    path: str
    flags: list[str]
    needs: dict[str, set[str]]

    def object_of(self, source: str) -> str:
        name = source.removeprefix("build/mutants/").replace("/", "_")
        return f"build/mutants/{Path(self.path).stem.split('.')[0]}-{name}.o"


class Tree:
    """The copy, of the project unless said otherwise. ``build()`` it first."""

    def __init__(self, path: Path, original: Path = ROOT) -> None:
        self.path, self._original = path, original
        self._extensions: list[_Extension] = []
        not_copied = shutil.ignore_patterns(*_NOT_COPIED)

        def ignored(folder: str, names: list[str]) -> set[str]:
            skip = not_copied(folder, names)
            return skip | {"build"} if Path(folder) == original else skip

        shutil.copytree(original, path, ignore=ignored, symlinks=True)
        if (original / ".venv").exists():
            (path / ".venv").symlink_to(original / ".venv")

    def copy(self, path: Path) -> Tree:
        """Another one, built as this one is."""
        shutil.copytree(self.path, path, symlinks=True)
        tree = copy.copy(self)
        tree.path = path
        return tree

    def build(self, flags: Sequence[str] = (), sources: Sequence[str] = ()) -> None:
        """Compile everything, with more flags, and with more sources in each extension."""
        (self.path / "build" / "mutants").mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", _EXTENSIONS],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        for line in done.stdout.splitlines():
            name, own, options = json.loads(line)
            path = name.replace(".", "/") + sysconfig.get_config_var("EXT_SUFFIX")
            extension = _Extension(path, [*options, *flags], {})
            everything = (*own, *sources)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                compiled = partial(self._compile, extension)
                list(pool.map(compiled, everything, map(extension.object_of, everything)))
            for source in everything:
                extension.needs[source] = self._included(extension.object_of(source))
            self._link(extension, {})
            self._extensions.append(extension)

    def take_built(self) -> None:
        """Take the extensions of the original as they are: enough for mutants of Python."""
        for built in self._original.glob("*/*.so"):
            shutil.copy2(built, self.path / built.relative_to(self._original))

    def _compile(self, extension: _Extension, source: str, output: str) -> None:
        command = [_COMPILER, "-fPIC", *extension.flags, "-g0", "-w"]
        command += ["-isystem", sysconfig.get_path("include"), "-MMD", "-MF", f"{output}.d"]
        done = subprocess.run(
            [*command, "-c", source, "-o", output], cwd=self.path, capture_output=True, text=True
        )
        if done.returncode:
            raise NotBuilt(done.stderr)

    def _included(self, output: str) -> set[str]:
        words = (self.path / f"{output}.d").read_text().replace("\\\n", " ").split()[1:]
        return {os.path.normpath(word) for word in words}

    def _link(self, extension: _Extension, instead: dict[str, str]) -> None:
        objects = [instead.get(source, extension.object_of(source)) for source in extension.needs]
        (self.path / extension.path).unlink(missing_ok=True)  # a process may have it mapped
        command = [_COMPILER, "-shared", *objects, "-o", extension.path]
        subprocess.run(command, cwd=self.path, check=True)

    def _digest(self, output: str) -> bytes:
        return hashlib.sha256((self.path / output).read_bytes()).digest()

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The tree with the mutant in it, built. NotBuilt, Unchanged."""
        file = self.path / mutant.file
        text, times = file.read_bytes(), file.stat()
        changed = mutant.applied_to(text)
        python = mutant.file.endswith(".py")
        if python:
            _check_python(mutant.file, text, changed)
        file.write_bytes(changed)
        linked: list[_Extension] = []
        try:
            if not python:
                # No younger than it was, so that nothing else is built anew by its date.
                os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
                self._build_with(mutant.file, linked)
            yield
        finally:
            file.write_bytes(text)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            for extension in linked:
                self._link(extension, {})

    def _build_with(self, file: str, linked: list[_Extension]) -> None:
        same = True
        for extension in self._extensions:
            instead: dict[str, str] = {}
            for source, needs in extension.needs.items():
                if file not in needs or source.startswith("build/"):
                    continue
                original = extension.object_of(source)
                instead[source] = original.replace("build/mutants/", "build/mutants/mutant-")
                self._compile(extension, source, instead[source])
                same = same and self._digest(instead[source]) == self._digest(original)
            if instead and not same:
                linked.append(extension)
                self._link(extension, instead)
        if same:
            raise Unchanged


def _check_python(file: str, old: bytes, new: bytes) -> None:
    try:
        made: Any = compile(new, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise NotBuilt(str(error)) from error
    if made == compile(old, file, "exec", dont_inherit=True):
        raise Unchanged
