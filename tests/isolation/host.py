# SPDX-License-Identifier: GPL-2.0-or-later
"""A corner of the host with secrets, a process and servers, and what a guest is given of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
USER = 1000
_ONE_WHO_WAITS = """
import os, signal, time
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"signalled\\n"))
print("ready", flush=True)
time.sleep(600)
"""


@dataclass
class Host:
    """Directories: ``work`` the guest has as its working directory, ``given`` by --read,
    ``writable`` by --writable; ``outside`` not at all. All have links to ``outside``.
    """

    top: Path
    secret: str
    victim: subprocess.Popen[str]
    servers: list[socket.socket]
    as_user: bool

    @property
    def outside(self) -> Path:
        return self.top / "outside"

    @property
    def work(self) -> Path:
        return self.top / "work"

    @property
    def given(self) -> Path:
        return self.top / "given"

    @property
    def writable(self) -> Path:
        return self.top / "writable"

    @property
    def arguments(self) -> list[str]:
        """What a program of ways out is told of the host."""
        tcp, unix, abstract = self.servers
        return [
            str(self.outside),
            str(self.given),
            str(self.writable),
            str(unix.getsockname()),
            abstract.getsockname()[1:].decode(),
            str(self.victim.pid),
            str(tcp.getsockname()[1]),
        ]

    def greetings(self) -> int:
        """How many have connected to one of the servers."""
        return len(select.select(self.servers, [], [], 0)[0])

    def untouched(self) -> dict[str, str]:
        """All there is outside and in what is given to be read: what may not change."""
        return {
            name: entry
            for folder in (self.outside, self.given, self.work)
            for name, entry in _tree(folder).items()
        }

    def special_files(self) -> list[str]:
        """What a guest could have left in ``writable`` that is a danger to the host."""
        found = []
        for path in self.writable.rglob("*"):
            info = path.lstat()
            kind = stat.S_IFMT(info.st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK) and path.name != "fifo":
                found.append(f"{path}: no file, directory or link")
            if kind != stat.S_IFLNK and info.st_mode & 0o7000:
                found.append(f"{path}: mode {info.st_mode:o}")
            if info.st_uid not in (0, USER):
                found.append(f"{path}: owner {info.st_uid}")
            if kind == stat.S_IFREG and info.st_nlink > 1:
                found.append(f"{path}: {info.st_nlink} names")
        return found

    def victim_says(self) -> str:
        """What the process has said, and how it ended if it did."""
        out = self.victim.stdout
        assert out is not None
        said = ""
        while select.select([out], [], [], 0)[0]:
            text = os.read(out.fileno(), 100).decode()
            if not text:
                break
            said += text
        return said if self.victim.poll() is None else f"{said} ended {self.victim.returncode}"

    def swapping(self) -> contextlib.AbstractContextManager[None]:
        """Meanwhile, ``writable/swapped`` is now a directory, now a link to ``outside``."""
        return _swapping(self.writable, self.outside)


def _tree(folder: Path) -> dict[str, str]:
    """Each name beneath with its kind, mode, owner, size, time and content."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        info = path.lstat()
        what = f"{info.st_mode:o} {info.st_uid} {info.st_gid} {info.st_nlink}"
        if not stat.S_ISDIR(info.st_mode):
            what += f" {info.st_mtime_ns}"
        if stat.S_ISREG(info.st_mode):
            what += " " + hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(info.st_mode):
            what += " " + os.readlink(path)
        found[str(path)] = what
    return found


@contextlib.contextmanager
def _swapping(writable: Path, outside: Path) -> Iterator[None]:
    over = threading.Event()
    name, link, aside = (writable / one for one in ("swapped", "swapped.link", "swapped.aside"))
    name.mkdir()
    (name / "key").write_text("its own")

    def swap() -> None:
        while not over.is_set():
            link.symlink_to(outside)
            name.rename(aside)
            link.rename(name)
            name.unlink()
            aside.rename(name)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def make_host(*, as_user: bool = False) -> Iterator[Host]:
    """Make one, owned by an ordinary user if ``as_user``, and take it away."""
    top = Path(tempfile.mkdtemp(prefix="host-", dir="/var/tmp"))
    top.chmod(0o755)
    secret = f"CANARY-{os.urandom(8).hex()}"
    _fill(top, secret)
    if as_user:
        for path in [top, *top.rglob("*")]:
            os.chown(path, USER, USER, follow_symlinks=False)
    servers = [socket.socket(), *(socket.socket(socket.AF_UNIX) for _ in range(2))]
    servers[0].bind(("127.0.0.1", 0))
    servers[1].bind(str(top / "given" / "socket"))
    servers[2].bind("\0" + top.name)
    for server in servers:
        server.listen()
    with open(top / "outside" / "key") as third:
        victim = subprocess.Popen(
            [sys.executable, "-c", _ONE_WHO_WAITS],
            stdout=subprocess.PIPE,
            text=True,
            env={"SECRET": secret},
            cwd=top / "outside",
            pass_fds=[third.fileno()],
            **({"user": USER, "group": USER} if as_user and _may_run_python() else {}),
        )
    assert victim.stdout is not None
    victim.stdout.readline()
    try:
        yield Host(top, secret, victim, servers, as_user)
    finally:
        victim.kill()
        victim.wait()
        victim.stdout.close()
        for server in servers:
            server.close()
        shutil.rmtree(top)


def _fill(top: Path, secret: str) -> None:
    for name in ("outside/empty", "work", "given/sub", "given/empty", "writable"):
        (top / name).mkdir(parents=True)
    outside = top / "outside"
    (outside / "key").write_text(secret)
    for number in ("", *"234"):
        (outside / f"victim{number}").write_text(secret)
    shutil.copy("/usr/bin/env", outside / "program")
    (top / f"hidden-{secret}").touch()
    for name in ("work", "given", "writable"):
        folder = top / name
        (folder / "absolute").symlink_to(outside / "key")
        (folder / "relative").symlink_to("../outside/key")
        (folder / "directory").symlink_to(outside)
        (folder / "dangling").symlink_to(outside / "through_a_link")
        (folder / "chain0").symlink_to("chain1")
        (folder / "chain1").symlink_to("./directory/../outside/key")
        (folder / "plain").write_text("plain\n")
        os.mkfifo(folder / "fifo")
    for number in ("", *"23456789"):
        (top / "given" / f"data{number}").write_text("given\n" * 100)
    for name in ("again", "again2", "mapped", "copied"):
        (top / "given" / name).write_text("given\n" * 1000)
    (top / "given" / "sub" / "up").symlink_to("../../outside")
    (top / "work" / "data").write_text("here\n" * 100)


def _may_run_python() -> bool:
    return all(os.stat(folder).st_mode & 1 for folder in Path(sys.executable).resolve().parents)


def command(host: Host, *options: str, walls: bool = True) -> list[str]:
    """The command line of a run on this host, up to the program.

    An ordinary user for whom the interpreter lies too deep is given CAP_DAC_READ_SEARCH to start
    it; the run gives it up with all capabilities.
    """
    prefix = []
    if host.as_user:
        prefix = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        if not _may_run_python():
            prefix += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [
        *prefix,
        *(sys.executable, "-m", "ucmmu", "run", "--timeout", "50"),
        *("--read", str(host.given), "--writable", str(host.writable)),
        *([] if walls else WITHOUT_WALLS),
        *options,
    ]


WITHOUT_WALLS = [
    word
    for wall in ("landlock", "seccomp", "namespaces", "capabilities")
    for word in ("--without-wall", wall)
]


def run(host: Host, *words: str, walls: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program, with the options before it, as a user of this host does; descriptor 7 of whose
    shell is a secret.
    """
    return subprocess.run(
        ["sh", "-c", 'exec 7<"$0" "$@"', host.outside / "key", *command(host, *words, walls=walls)],
        cwd=host.work,
        env={
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
            "HOME": "/nowhere",
            **({"UCMMU_DEBUG": "1"} if "UCMMU_DEBUG" in os.environ else {}),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=200,
        check=False,
    )
