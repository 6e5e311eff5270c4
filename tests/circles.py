# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files of a folder need which, in Python and in C, and whether that is a circle."""

from __future__ import annotations

import ast
import graphlib
import itertools
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
        steps = itertools.pairwise(files)
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
    files = {path.stem: path for path in (root / folder).glob("*.py")}
    graph: Graph = {path.name: {} for path in files.values()}
    for path in files.values():
        for module, line in imported(path, package):
            if not (module + ".").startswith(package + "."):
                continue
            name, *more = module[len(package) + 1 :].split(".")
            inside = [*(root / folder).glob(name or "-"), *(root / folder).glob(f"{name}.*")]
            if name not in files and (more or inside):
                continue  # a package or an extension within
            other = files.get(name, files.get("__init__", path))
            if other != path:
                graph[path.name].setdefault(other.name, f"line {line} imports {module}")
    return graph


# ---- C ----

CALL = re.compile(r'^edge: { sourcename: "\S+" targetname: "(\S+)" label: "([^":]+):(\d+):', re.M)
NODE = re.compile(r'^node: { title: "(\S+:\S+)" label: "\S+?\\n([^":]+):', re.M)
CFLAGS = ["-std=c11", "-O0", "-D_GNU_SOURCE=1", "-w", "-fcallgraph-info", "-c"]


class Objects:
    """C files, compiled, and which calls which.

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
                    yield Path(file), other, f"line {line} calls {target.split(':')[-1]}"
            for kind, name in self._nm[path]:
                if kind == "U" and name in self.defined:
                    yield path, self.defined[name], f"names {name}"

    def graph(self, folder: str) -> Graph:
        """The C files and headers of ``root/folder`` by their calls of each other.

        A header that calls its own C file is no step: ``nm`` tells of that call as one of whoever
        calls the header.
        """
        top = self.root / folder
        graph: Graph = {path.name: {} for path in self.files if path.parent == top}
        for path, other, why in self.calls():
            if path.parent != top or other.parent != top or path == other:
                continue
            if path.suffix != ".h" or path.stem != other.stem:
                graph.setdefault(path.name, {}).setdefault(other.name, why)
        return graph
