# SPDX-License-Identifier: GPL-2.0-or-later
"""Learn which test runs which block of the sources.

A copy of the project is built in which each block first marks itself in a file that all processes
of a test share. What a test file reached is kept, and holds until that file or a function it
reached changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.mutants.session import REACH, preload, run_tests
from tests.mutants.syntax import Mutant, Source, Unknown
from tests.mutants.tree import ROOT, Tree

_HEADER = 'extern unsigned char *mutants_reach __attribute__((visibility("hidden")));\n'
_DEFINITION = f"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned char unmarked[SIZE];
unsigned char *mutants_reach = unmarked;

__attribute__((constructor)) static void mutants_reach_begin(void)
{{
	const char *name = getenv("{REACH}");
	int fd = name ? open(name, O_RDWR) : -1;
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map != MAP_FAILED)
		mutants_reach = map;
	if (fd >= 0)
		close(fd);
}}
"""
_SITE = f"""
import builtins, mmap, os
if "{REACH}" in os.environ:
    with open(os.environ["{REACH}"], "r+b") as file:
        builtins.mutants_reach = mmap.mmap(file.fileno(), 0)
else:
    builtins.mutants_reach = bytearray(SIZE)
"""


@dataclass(slots=True)
class TestFile:
    """What the tests of one file reached. Blocks have names: ``file:function#number``."""

    digest: str
    """Of the test file and of all helpers below tests/."""
    functions: dict[str, str]
    """Digest of each function that was reached, and of the rest of its file."""
    seconds: dict[str, float]
    """How long each test took, by its name."""
    blocks: dict[str, list[str]]
    """Blocks of each test, by its name."""
    at_import: list[str]
    failed: list[str]
    """Tests that fail without a mutant: they say nothing."""


@dataclass(slots=True)
class Reach:
    """Who runs what."""

    files: dict[str, TestFile]
    _by_block: dict[str, list[str]] = field(default_factory=dict)
    _by_source: dict[str, set[str]] = field(default_factory=dict)
    _weight: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for file in self.files.values():
            for name, blocks in file.blocks.items():
                self._weight[name] = (0.05 + file.seconds[name]) * (50 + len(blocks))
                for block in {*blocks, *file.at_import}:
                    self._by_block.setdefault(block, []).append(name)
                    self._by_source.setdefault(block.split(":")[0], set()).add(name)

    @property
    def seconds(self) -> dict[str, float]:
        """How long each test takes."""
        return {name: took for file in self.files.values() for name, took in file.seconds.items()}

    @property
    def failed(self) -> list[str]:
        """Tests that fail as it is."""
        return [name for file in self.files.values() for name in file.failed]

    def tests_of(self, mutant: Mutant, sources: dict[str, Source]) -> list[str]:
        """The tests that run the mutant's block, the likeliest to fail soon first.

        Quick tests that run little else come first, of each function one parameter before the
        others; comparisons of two engines come last, so that it shows if only they notice.
        Outside functions: the tests of blocks that name the constant; if none does, all tests that
        run anything of the file; else all.
        """
        names: Iterable[str]
        if mutant.block is not None:
            names = self._by_block.get(name_of(sources[mutant.file], mutant.block), ())
        else:
            named = blocks_naming(mutant.function.split(".")[-1], sources)
            names = {name for block in named for name in self._by_block.get(block, ())}
            names = names or self._by_source.get(mutant.file) or self._weight
        seen: dict[str, int] = {}
        ranks: dict[str, tuple[bool, int, float]] = {}
        for name in sorted(names, key=lambda name: (self._weight[name], name)):
            function = name.partition("[")[0]
            seen[function] = seen.get(function, 0) + 1
            ranks[name] = (is_comparison(name), seen[function], self._weight[name])
        return sorted(ranks, key=ranks.__getitem__)


def is_comparison(test: str) -> bool:
    """Whether a test only compares the engines, which does not tell which of them is right."""
    return "agree" in test or "seeded_faults" in test


def name_of(source: Source, block: int) -> str:
    """The name of a block, which does not change with other functions."""
    found = source.blocks[block]
    return f"{source.file}:{found.function}#{found.number}"


def blocks_naming(word: str, sources: dict[str, Source]) -> Iterator[str]:
    """Names of the blocks in which a name stands."""
    found = re.compile(rf"\b{re.escape(word)}\b".encode())
    for source in sources.values():
        for hit in found.finditer(source.text):
            for number, block in enumerate(source.blocks):
                if block.at <= hit.start() < block.end:
                    yield name_of(source, number)


def all_blocks(sources: dict[str, Source]) -> list[str]:
    """Their names, in the order of the marks."""
    return [name_of(source, i) for source in sources.values() for i in range(len(source.blocks))]


def marked(source: Source, first: int) -> bytes:
    """The source, each block of which marks itself; the first as number ``first``."""
    python = source.file.endswith(".py")
    text = source.text
    marks = [(block.at, block.lead, first + number) for number, block in enumerate(source.blocks)]
    for at, lead, number in sorted(marks, reverse=True):
        mark = f"mutants_reach[{number}] = 1{lead}" if python else f" mutants_reach[{number}] = 1;"
        text = text[:at] + mark.encode() + text[at:]
    return text


def build_marked(tree: Tree, sources: dict[str, Source]) -> None:
    """Mark the blocks in a tree and build it."""
    number = 0
    for source in sources.values():
        (tree.path / source.file).write_bytes(marked(source, number))
        number += len(source.blocks)
    size = str(max(number, 1))
    (tree.path / "sitecustomize.py").write_text(_SITE.replace("SIZE", size))
    folder = tree.path / "build" / "mutants"
    folder.mkdir(parents=True)
    (folder / "reach.h").write_text(_HEADER)
    (folder / "reach.c").write_text(_DEFINITION.replace("SIZE", size))
    tree.build(("-O0", "-include", "build/mutants/reach.h"), ("build/mutants/reach.c",))


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def function_digests(source: Source) -> dict[str, str]:
    """Of each function the digest of its text, and under the file's name that of what is outside.

    A function is known by its blocks: it goes from the line of its first to that of the next's.
    """
    lines = source.text.splitlines(keepends=True)
    owner: list[str] = []
    starts: dict[int, str] = {}
    for block in source.blocks:
        if block.number == 0:
            starts[source.text.count(b"\n", 0, block.at)] = block.function
    current = ""
    for number in range(len(lines)):
        current = starts.get(number, current)
        owner.append(current)
    texts: dict[str, bytes] = {}
    for name, line in zip(owner, lines, strict=True):
        key = f"{source.file}:{name}" if name else source.file
        texts[key] = texts.get(key, b"") + line
    return {key: _digest(text) for key, text in texts.items()}


def test_files(folders: Iterable[str]) -> list[str]:
    """Test files of these folders of the project, but those of the mutants. Unknown if none."""
    found: set[str] = set()
    for folder in folders:
        path = ROOT / folder
        paths = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
        if not paths:
            raise Unknown(f"no tests in {folder}")
        found |= {file.relative_to(ROOT).as_posix() for file in paths}
    return sorted(name for name in found if not name.startswith("tests/mutants/"))


def test_digests(files: Iterable[str]) -> dict[str, str]:
    """Of each test file, with all that is no test file below tests/."""
    tests = ROOT / "tests"
    helpers = b"".join(
        path.read_bytes()
        for path in sorted(tests.rglob("*.[ch py]*"))
        if not path.name.startswith("test_")
        and path.suffix in (".py", ".c", ".h")
        and "mutants" not in path.parts
    )
    return {name: _digest((ROOT / name).read_bytes() + helpers) for name in files}


_marked_tree: Path
_folder: Path


def _begin(tree: Path, folder: Path) -> None:
    global _marked_tree, _folder
    _marked_tree, _folder = tree, folder
    preload()


def _run(file: str, size: int) -> tuple[str, dict[str, Any]]:
    marks = _folder / f"{file.replace('/', '_')}.reach"
    marks.write_bytes(bytes(size))
    ended = run_tests(_marked_tree, [file], (), {}, rest=True, reach=marks)
    marks.unlink()
    failed = ended.failed if not ended.how or ended.failed else [f"{file} ({ended.how})"]
    return file, {
        "seconds": {name: ran.seconds for name, ran in ended.passed.items()},
        "blocks": {name: ran.blocks for name, ran in ended.passed.items()},
        "at_import": ended.at_import,
        "failed": failed,
    }


def learn(
    sources: dict[str, Source],
    files: list[str],
    kept: Path,
    folder: Path,
    workers: int,
    tell: Callable[[str, int, int], None],
) -> Reach:
    """Take from ``kept`` what still holds, and run the other test files. ``folder``: for trees."""
    digests = test_digests(files)
    functions: dict[str, str] = {}
    for source in sources.values():
        functions |= function_digests(source)
    known = {name: file for name, file in _read(kept) if _holds(file, digests.get(name), functions)}
    todo = [name for name in files if name not in known]
    if todo:
        tree = Tree(folder / "marked")
        build_marked(tree, sources)
        names = all_blocks(sources)
        spawn = get_context("spawn")  # so that a worker has imported nothing that is tested
        with ProcessPoolExecutor(workers, spawn, _begin, (tree.path, folder)) as pool:
            runs = [pool.submit(_run, name, max(len(names), 1)) for name in todo]
            for done, run in enumerate(as_completed(runs), 1):
                name, found = run.result()
                known[name] = _test_file(digests[name], functions, names, found)
                tell(name, done, len(todo))
                _write(kept, known)
    return Reach({name: known[name] for name in files})


def _test_file(
    digest: str, functions: dict[str, str], names: list[str], found: dict[str, Any]
) -> TestFile:
    blocks = {
        test: [names[number] for number in numbers] for test, numbers in found["blocks"].items()
    }
    at_import = [names[number] for number in found["at_import"]]
    reached = {name.split("#")[0] for named in (*blocks.values(), at_import) for name in named}
    reached |= {name.split(":")[0] for name in reached}
    kept = {name: functions[name] for name in sorted(reached) if name in functions}
    return TestFile(digest, kept, found["seconds"], blocks, at_import, found["failed"])


def _holds(file: TestFile, digest: str | None, functions: dict[str, str]) -> bool:
    return file.digest == digest and all(
        functions.get(name) == was for name, was in file.functions.items()
    )


def _read(kept: Path) -> Iterator[tuple[str, TestFile]]:
    if kept.exists():
        for name, row in json.loads(kept.read_text()).items():
            yield name, TestFile(**row)


def _write(kept: Path, files: dict[str, TestFile]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    rows = {
        name: {field: getattr(file, field) for field in TestFile.__slots__}
        for name, file in files.items()
    }
    kept.write_text(json.dumps(rows))
