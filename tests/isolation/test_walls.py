# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: should a guest get past the checks of the machine's own, the host's kernel refuses what a
machine never does; each wall is shown to stand, and to be what refuses.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cpu.fs.view import Given, View
from cpu.walls import CAPABILITIES, LANDLOCK, NAMESPACES, SECCOMP, landlock_abi
from tests.children import children_of
from ucmmu.isolation import close_strays, isolate

ROOT = Path(__file__).resolve().parents[2]
ALL = {CAPABILITIES, LANDLOCK, NAMESPACES, SECCOMP}
IS_ROOT = os.geteuid() == 0
needs_landlock = pytest.mark.skipif(landlock_abi() == 0, reason="the kernel has no Landlock")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="an ordinary user may not anyway")
libc = ctypes.CDLL(None, use_errno=True)


def answer(
    act: Callable[[], object], view: View, without: set[str], *, before: object = None
) -> str:
    """What a process that gave up all but ``without`` gets: "done", or the name of the error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            isolate(view, without)
            act()
            text = "done"
        except OSError as error:
            text = os.strerror(error.errno or 0)
        except BaseException as error:
            text = repr(error)
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as said:
        text = said.read().decode()
    os.waitpid(pid, 0)
    return text


def call(number: int, *arguments: int) -> Callable[[], None]:
    """A system call by its number."""

    def make() -> None:
        if libc.syscall(number, *arguments) == -1:
            raise OSError(ctypes.get_errno(), "")

    return make


@pytest.fixture
def view(tmp_path: Path) -> View:
    """A tree with something given, something writable, and an upper layer."""
    for name in ("given", "writable", "upper", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return View(
        given=(
            Given("/given", str(tmp_path / "given")),
            Given("/writable", str(tmp_path / "writable"), writable=True),
        ),
        upper=str(tmp_path / "upper"),
    )


def append(path: Path) -> Callable[[], object]:
    return lambda: os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


def read(path: Path) -> Callable[[], object]:
    return lambda: os.close(os.open(path, os.O_RDONLY))


@needs_landlock
def test_landlock_leaves_what_guests_see_and_write(view: View, tmp_path: Path) -> None:
    others = ALL - {LANDLOCK}
    for folder, may_write in (("given", False), ("writable", True), ("upper", True)):
        place = tmp_path / folder
        assert answer(read(place / "file"), view, others) == "done"
        for act in (
            append(place / "file"),
            lambda place=place: os.truncate(place / "file", 2),
            lambda place=place: os.mkdir(place / "directory"),
            lambda place=place: os.rmdir(place / "directory"),
            lambda place=place: os.symlink("x", place / "link"),
            lambda place=place: os.rename(place / "link", place / "other"),
            lambda place=place: os.link(place / "file", place / "hard"),
            lambda place=place: os.unlink(place / "other"),
        ):
            assert (answer(act, view, others) == "done") is may_write


@needs_landlock
def test_landlock_refuses_all_other_files(view: View, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for act in (
        read(outside / "file"),
        append(outside / "file"),
        lambda: os.listdir(outside),
        lambda: os.mkdir(outside / "directory"),
        lambda: os.unlink(outside / "file"),
        lambda: os.rename(tmp_path / "writable" / "file", outside / "moved"),
        lambda: os.rename(outside / "file", tmp_path / "writable" / "moved"),
        lambda: os.link(outside / "file", tmp_path / "writable" / "linked"),
        lambda: os.symlink("x", outside / "link"),
        lambda: os.truncate(outside / "file", 0),
        lambda: os.mkfifo(tmp_path / "upper" / "fifo"),
    ):
        # EXDEV: of the calls with two directories, one of which may not have it
        assert answer(act, view, ALL - {LANDLOCK}) in (os.strerror(13), os.strerror(18))
    assert (outside / "file").read_text() == "outside"
    assert answer(read(outside / "file"), view, ALL) == "done"


@needs_landlock
@pytest.mark.skipif(landlock_abi() < 6, reason="this Landlock knows no scopes")
def test_landlock_refuses_signals_and_sockets(view: View) -> None:
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as abstract:
        server.bind(("127.0.0.1", 0))
        server.listen()
        abstract.bind(f"\0ucmmu-{os.getpid()}")
        abstract.listen()
        to, name = server.getsockname(), abstract.getsockname()
        for act in (
            lambda: socket.socket().connect(to),
            lambda: socket.socket().bind(("127.0.0.1", 0)),
            lambda: socket.socket(socket.AF_UNIX).connect(name),
            lambda: os.kill(os.getppid(), 0),
        ):
            assert answer(act, view, ALL - {LANDLOCK}) in (os.strerror(13), os.strerror(1))
            assert answer(act, view, ALL) == "done"


DENIED = {
    "socket": lambda: socket.socket(),
    "socketpair": lambda: socket.socketpair(),
    "fork": lambda: os._exit(0) if os.fork() == 0 else None,
    "execve": lambda: os.execv("/bin/true", ["true"]),
    "kill the parent": lambda: os.kill(os.getppid(), 0),
    "kill all": lambda: os.kill(-1, 0),
    "tgkill": lambda: call(234, os.getppid(), os.getppid(), 0)(),
    "tkill": lambda: call(200, os.getppid(), 0)(),
    "ptrace": call(101, 16, -1, 0, 0),
    "process_vm_readv": call(310, -1, 0, 0, 0, 0, 0),
    "pidfd_open": lambda: call(434, os.getppid(), 0)(),
    "prlimit": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
    "io_uring_setup": call(425, 0, 0),
    "bpf": call(321, 0, 0, 0),
    "perf_event_open": call(298, 0, 0, -1, -1, 0),
    "userfaultfd": call(323, 1),
    "keyctl": call(250, 0, -1, 0),
    "mount": call(165, 0, 0, 0, 0, 0),
    "unshare": call(272, 0),
    "setns": call(308, -1, 0),
    "chroot": lambda: os.chroot("/"),
    "open_by_handle_at": call(304, -1, 0, 0),
    "setuid": lambda: os.setuid(os.getuid()),
    "shmget": call(29, 0, 4096, 0o600),
    "x32": call(0x40000000 + 39),
}


@pytest.mark.parametrize("name", DENIED)
def test_seccomp_refuses_what_a_machine_never_does(view: View, name: str) -> None:
    assert answer(DENIED[name], view, ALL - {SECCOMP}) == os.strerror(1)
    if name != "execve":
        assert answer(DENIED[name], view, ALL) != os.strerror(1)


def test_seccomp_refuses_special_modes_owners_and_devices(view: View, tmp_path: Path) -> None:
    file = tmp_path / "upper" / "file"
    for act in (
        lambda: os.chmod(file, 0o4755),
        lambda: os.chmod(file, 0o2755),
        lambda: os.mkdir(tmp_path / "upper" / "sticky", 0o1777),
        lambda: os.open(tmp_path / "upper" / "setuid", os.O_CREAT | os.O_WRONLY, 0o4755),
        lambda: os.mkfifo(tmp_path / "upper" / "fifo"),
        lambda: os.chown(file, os.getuid(), os.getgid()),
        lambda: os.setxattr(file, "user.x", b"y"),
    ):
        assert answer(act, view, ALL - {SECCOMP}) == os.strerror(1)
        assert answer(act, view, ALL) != os.strerror(1)


def test_seccomp_lets_a_machine_work(view: View, tmp_path: Path) -> None:
    def work() -> None:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        os.kill(os.getpid(), 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chmod(tmp_path / "upper" / "file", 0o755)
        os.close(os.open(tmp_path / "upper" / "made", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(tmp_path / "upper" / "directory", 0o777)
        os.urandom(16)

    assert answer(work, view, set()) == "done"


def test_no_text_is_put_into_a_terminal(view: View) -> None:
    master, slave = os.openpty()

    def put() -> None:
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
        fcntl.ioctl(slave, 0x5412, b"x")  # TIOCSTI

    try:
        assert answer(put, view, ALL - {SECCOMP}) == os.strerror(1)
    finally:
        os.close(master)
        os.close(slave)


@needs_root
def test_root_keeps_its_rights_over_files_alone(view: View, tmp_path: Path) -> None:
    os.chown(tmp_path / "upper" / "file", 1000, 1000)
    os.chmod(tmp_path / "upper" / "file", 0o600)
    others = ALL - {CAPABILITIES}
    assert answer(append(tmp_path / "upper" / "file"), view, others) == "done"
    for act in (
        lambda: os.chown(tmp_path / "upper" / "file", 0, 0),
        lambda: os.mknod(tmp_path / "upper" / "null", 0o20666, os.makedev(1, 3)),
        lambda: os.setuid(1000),
        lambda: os.chroot("/"),
        lambda: os.nice(-1),
    ):
        assert answer(act, view, others) == os.strerror(1)


@needs_root
def test_root_has_an_empty_network(view: View) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        to = server.getsockname()
        assert answer(lambda: socket.socket().connect(to), view, ALL) == "done"
        assert answer(lambda: socket.socket().connect(to), view, ALL - {NAMESPACES}) != "done"


def test_no_new_privs_is_set_whatever_is_left_out(view: View) -> None:
    def look() -> None:
        assert "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()

    assert answer(look, view, ALL) == "done"


def test_descriptors_of_others_are_closed() -> None:
    reader, writer = os.pipe()
    stray = os.dup(reader)
    pid = os.fork()
    if pid == 0:
        close_strays({writer})
        open_now = [fd for fd in (reader, writer, stray) if _is_open(fd)]
        os.write(writer, json.dumps(open_now).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert json.loads(os.read(reader, 100)) == [writer]
    for fd in (reader, writer, stray):
        os.close(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def isolation_of(*options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "run", "--json", "-", *options, "hello"],
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    walls: list[str] = json.loads(done.stdout)["isolation"]
    return walls


def test_a_run_has_all_walls_and_tells_them() -> None:
    expected = ["no_new_privs", *(["namespaces"] if IS_ROOT else []), "capabilities"]
    expected += [LANDLOCK] if landlock_abi() else []
    assert isolation_of() == [*expected, SECCOMP]


@pytest.mark.parametrize("wall", sorted(ALL))
def test_a_wall_can_be_left_out(view: View, wall: str) -> None:
    def look() -> None:
        assert wall not in isolate(view, {wall})

    assert answer(look, view, ALL) == "done"


def test_a_run_can_leave_them_out() -> None:
    words = [word for wall in sorted(ALL) for word in ("--without-wall", wall)]
    assert isolation_of(*words) == ["no_new_privs"]


def test_every_thread_of_the_child_is_behind_the_walls() -> None:
    """The thread that listens to the parent starts after they stand."""
    run = subprocess.Popen(
        [sys.executable, "-m", "ucmmu", "run", "--timeout", "20", "faults", "spin"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        child = _child_of(run.pid)
        for _ in range(500):
            threads = list(Path(f"/proc/{child}/task").glob("*/status"))
            filters = [path.read_text().partition("Seccomp:\t")[2][:1] for path in threads]
            if len(filters) > 1:
                break
            threading.Event().wait(0.01)
        assert len(filters) > 1 and set(filters) == {"2"}
        assert all("NoNewPrivs:\t1" in path.read_text() for path in threads)
    finally:
        run.send_signal(signal.SIGTERM)
        run.wait()


def _child_of(pid: int) -> int:
    for _ in range(500):
        pids = children_of(pid)
        if pids:
            return pids[0]
        threading.Event().wait(0.01)
    raise AssertionError("no child")
