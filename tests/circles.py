# SPDX-License-Identifier: GPL-2.0-or-later
"""Who needs whom among the files of one folder, in Python and in C, and whether that is a circle.

A file is named by its stem: ``tlb`` is ``tlb.c`` with ``tlb.h``, or ``tlb.py``. A folder within the
folder counts as one file.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Graph = dict[str, dict[str, str]]
"""By file: the files it needs, and one reason for each."""


def circle(graph: Mapping[str, Mapping[str, str]]) -> str | None:
    """A circle, one line for each step with its reason; None if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        files = error.args[1][::-1]  # graphlib names each file before the one that needs it
        steps = zip(files, files[1:], strict=False)
        return "\n".join(f"{one} -> {other}: {graph[one][other]}" for one, other in steps)
    return None


# ---- Python ----


def imported(path: Path, package: str) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports anywhere, for types only too, and the lines."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def python_graph(root: Path, folder: str) -> Graph:
    """The Python files of ``root/folder`` by their imports of each other."""
    package = folder.replace("/", ".")
    entries = [*(root / folder).glob("*.py"), *(root / folder).glob("*/__init__.py")]
    names = {path.parent.name if path.parent.name != (root / folder).name else path.stem: path
             for path in entries}
    graph: Graph = {name: {} for name in names}
    for name, path in names.items():
        files = [path] if path.parent == root / folder else sorted(path.parent.rglob("*.py"))
        for file in files:
            inside = ".".join(file.relative_to(root).parent.parts)
            for module, line in imported(file, inside):
                if module != package and not module.startswith(package + "."):
                    continue
                other = module[len(package) + 1 :].split(".")[0]
                other = other if other in names else "__init__"
                if other != name:
                    graph[name].setdefault(other, f"{file.name}:{line} imports {module}")
    return graph


# ---- C ----

CALL = re.compile(r'^edge: { sourcename: "\S+" targetname: "(\S+)" label: "([^":]+):(\d+):', re.M)
NODE = re.compile(r'^node: { title: "(\S+:\S+)" label: "\S+?\\n([^":]+):', re.M)
CFLAGS = ["-std=c11", "-O0", "-D_GNU_SOURCE=1", "-w", "-fcallgraph-info", "-c"]


class Objects:
    """Object files of C files, with who calls whom.

    At -O0 a call of a header's inline function, and that function's own calls, are still there;
    ``gcc -fcallgraph-info`` says where each call stands in the source, so that the calls of an
    inline function are those of its header. What is only pointed to is told by ``nm``.
    """

    def __init__(self, root: Path, files: Iterable[Path], out: Path, includes: Iterable[str]):
        self.root = root
        self.files = sorted(files)
        self.out = out
        self._includes = [f"-I{folder}" for folder in (root / "native", *includes)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._compile, self.files))
        self._nm = self._symbols()
        self.defined = {
            name: path for path, names in self._nm.items() for kind, name in names if kind in "TDBR"
        }

    def _object(self, path: Path) -> Path:
        return self.out / "_".join(path.relative_to(self.root).with_suffix(".o").parts)

    def _compile(self, path: Path) -> None:
        cc = sysconfig.get_config_var("CC").split()[0]
        command = [cc, *CFLAGS, *self._includes, "-o", str(self._object(path)), str(path)]
        subprocess.run(command, check=True)

    def _symbols(self) -> dict[Path, list[tuple[str, str]]]:
        """By file: the kind and name of each symbol of its object."""
        by_object = {str(self._object(path)): path for path in self.files}
        nm = ["nm", "--print-file-name", "--format=posix", *by_object]
        output = subprocess.run(nm, check=True, capture_output=True, text=True).stdout
        symbols: dict[Path, list[tuple[str, str]]] = {path: [] for path in self.files}
        for line in output.splitlines():
            file, name, kind = line.split()[:3]
            symbols[by_object[file.rstrip(":")]].append((kind, name))
        return symbols

    def calls(self) -> Iterator[tuple[Path, Path, str]]:
        """The file that needs another, that other, and why."""
        for path in self.files:
            text = self._object(path).with_suffix(".ci").read_text()
            inline = {title: Path(file) for title, file in NODE.findall(text)}
            for target, file, line in CALL.findall(text):
                other = inline.get(target) or self.defined.get(target)
                if other:
                    yield Path(file), other, f"{Path(file).name}:{line} calls {target.split(':')[-1]}"
            for kind, name in self._nm[path]:
                if kind == "U" and name in self.defined:
                    yield path, self.defined[name], f"{path.name} names {name}"

    def graph(self, folder: str) -> Graph:
        """The C files of ``root/folder`` by their calls of each other."""
        top = self.root / folder

        def name_of(path: Path) -> str | None:
            if not path.is_relative_to(top):
                return None
            first = path.relative_to(top).parts[0]
            return Path(first).stem

        graph: Graph = {}
        for file in self.files:
            if name := name_of(file):
                graph.setdefault(name, {})
        for path, other, why in self.calls():
            one, two = name_of(path), name_of(other)
            if one and two and one != two:
                graph.setdefault(one, {}).setdefault(two, why)
        return graph
