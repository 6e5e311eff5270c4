# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a command natively and under ``ucmmu run`` in the same directory with the same files, and
says what came of each: output, exit code, and the files it left.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "TZ": "UTC0",
}
"""What both are given; a test adds to it."""

PACKAGES = {
    "busybox": "busybox-static",
    "dash": "dash",
    "lua5.4": "lua5.4",
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
    "tclsh": "tcl",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "node": "nodejs",
    "go": "golang-go",
    "rustc": "rustc",
    "g++": "g++",
    "xz": "xz-utils",
    "musl-gcc": "musl-tools",
    "/usr/bin/python3": "python3",
}
"""Debian's package of a program, where the name is another one."""


SCRIPTS = Path(__file__).parent / "scripts"


def source(name: str) -> str:
    """The text of a program that a test runs, a file of ``scripts``."""
    return (SCRIPTS / name).read_text()


required: list[str] = []
"""The programs that the test under way, or those before, asked for: tests.programs.survey."""


def require(*programs: str) -> None:
    """Skip the test where a program is missing, and name what would install it."""
    required.extend(programs)
    for program in programs:
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            pytest.skip(f"no {program}: apt-get install {PACKAGES.get(program, program)}")


WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True)
class Left:
    """A file as it is left: its kind and mode, and its contents or where it leads to.

    The mode is without set-id and sticky bits, which the host never gets from a guest.
    """

    mode: str
    contents: bytes

    @classmethod
    def at(cls, path: Path) -> Left:
        """What lies at ``path``."""
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            return cls("link", os.fsencode(os.readlink(path)))
        mode = stat.filemode(info.st_mode & ~0o7000)
        return cls(mode, path.read_bytes() if path.is_file() else b"")


def tree(root: Path) -> dict[str, Left]:
    """All that lies beneath ``root``, by its name from there, without FIFOs and sockets."""
    found = {str(path.relative_to(root)): Left.at(path) for path in sorted(root.rglob("*"))}
    return {name: left for name, left in found.items() if left.mode[0] not in "ps"}


def merged(lower: dict[str, Left], upper: dict[str, Left]) -> dict[str, Left]:
    """A tree after the layer of changes ``upper``, with the whiteouts of OCI's layers."""
    found = dict(lower)
    for name in upper:
        directory, slash, last = name.rpartition("/")
        if last == OPAQUE:
            gone = directory + slash
        elif last.startswith(WHITEOUT):
            gone = directory + slash + last.removeprefix(WHITEOUT)
            found.pop(gone, None)
            gone += "/"
        else:
            continue
        found = {path: left for path, left in found.items() if not path.startswith(gone)}
    changes = {
        name: left
        for name, left in upper.items()
        if not name.rpartition("/")[2].startswith(WHITEOUT)
    }
    return {**found, **changes}


@dataclass
class Outcome:
    """What came of a command. ``files`` are those of the working directory afterwards."""

    code: int
    stdout: bytes
    stderr: bytes
    files: dict[str, Left] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Its output as text."""
        return self.stdout.decode(errors="replace")


def _run(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: bytes, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=dict(env),
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


class Scratch:
    """A directory in which commands run: the same one natively and here, put back in between.

    ``files`` are written into it before each run: text or bytes; a name ending in ``.sh`` is made
    executable. ``beside`` are directories that a guest sees as well, removed in the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, str | bytes] = {}
        self.beside: list[Path] = []

    def prepare(self) -> None:
        """Put the directory into the state it has before a run."""
        for entry in list(self.path.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        for name, contents in self.files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)

    def natively(
        self,
        *command: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> Outcome:
        """Run it on the host."""
        self.prepare()
        done = _run(command, self.path, {**ENVIRONMENT, **(env or {})}, stdin, timeout)
        return Outcome(done.returncode, done.stdout, done.stderr, tree(self.path))

    def here(
        self,
        *command: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        options: Iterable[str] = (),
        writable: bool = False,
        timeout: float = 300,
    ) -> Outcome:
        """Run it as a guest that sees this directory, and writes to a layer above it, or, with
        ``writable``, to the directory itself.
        """
        self.prepare()
        given = [f"--env={name}={value}" for name, value in {**ENVIRONMENT, **(env or {})}.items()]
        run = [sys.executable, "-m", "ucmmu", "run", f"--timeout={timeout - 10}", "--clear-env"]
        run += [*given, *(f"--read={path}" for path in self.beside)]
        with tempfile.TemporaryDirectory(prefix="ucmmu-kept-") as kept:
            if writable:
                run += [f"--writable={self.path}"]
            else:
                run += [f"--read={self.path}", f"--keep={kept}"]
            run += [*options, "--", *command]
            done = _run(run, self.path, os.environ, stdin, timeout)
            changes = tree(Path(kept) / self.path.relative_to("/"))
        files = merged(tree(self.path), changes)
        return Outcome(done.returncode, done.stdout, done.stderr, files)

    def same(
        self,
        *command: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        options: Iterable[str] = (),
        code: int = 0,
        without: Iterable[str] = (),
        writable: bool = False,
        timeout: float = 300,
    ) -> Outcome:
        """Run it natively and here: exit code, output and all files left must be equal.

        A program that fails in its own way on both sides is refused: it must end with ``code``.
        ``without`` are files whose contents differ from run to run. Returns what came of it here.
        """
        natively = self.natively(*command, stdin=stdin, env=env, timeout=timeout)
        assert natively.code == code, natively.stderr.decode(errors="replace")
        here = self.here(
            *command, stdin=stdin, env=env, options=options, writable=writable, timeout=timeout
        )
        report = here.stderr.decode(errors="replace")
        assert here.text.splitlines() == natively.text.splitlines(), report
        assert (here.code, here.stdout) == (natively.code, natively.stdout), report
        assert here.files.keys() == natively.files.keys(), report
        for name, left in natively.files.items():
            if name not in without:
                assert here.files[name] == left, name
        return here


@pytest.fixture
def scratch() -> Iterable[Scratch]:
    """An empty directory in which both run."""
    with tempfile.TemporaryDirectory(prefix="ucmmu-program-") as path:
        made = Scratch(Path(path).resolve())
        yield made
        for directory in made.beside:
            shutil.rmtree(directory)
