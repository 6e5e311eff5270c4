# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a guest sees its program, what we make up, and what it was given, read-only; nothing else
of the host.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from cpu.fs.files import O_CREAT, O_DIRECTORY, O_NOFOLLOW, RLIMIT_NOFILE, FileTable, OpenFile
from cpu.fs.host_data import Space
from cpu.fs.inode import InodeTable
from cpu.fs.namei import FileSystem, FsStruct
from cpu.fs.pseudo_fs import Opened, TextFile
from cpu.fs.regular_files import DataFile, HostFile
from cpu.fs.streams import Stream
from cpu.fs.view import View, ViewError, seen
from mmu.errors import LinuxError
from mmu.linux.filemap import MappedFile
from mmu.linux.state import Kernel
from mmu.memory import Memory


def file_system(allow: tuple[str, ...] = (), cwd: str = "/") -> FsStruct:
    image = MappedFile(b"program", path="/bin/program")
    mode = stat.S_IFREG | 0o555
    program = Opened(DataFile(b"program", mode=mode, inode=2, path=image.path, map_as=image))
    mounts = {
        "/proc/self/status": TextFile(lambda: "VmPTE:\t4 kB\n"),
        "/bin/program": program,
        "/proc/self/exe": program,
    }
    given = tuple(given for path in allow for given in seen(path))
    return FsStruct(FileSystem(mounts, View(given=given, cwd=cwd), inodes()), cwd)


def inodes() -> InodeTable:
    """Those of a machine of its own."""
    return InodeTable(Kernel(Memory(1 << 24)), lambda: 0, Space(0))


def host_file(path: Path) -> HostFile:
    """The file, open for reading."""
    fd = os.open(path, os.O_RDONLY)
    return HostFile(inodes().iget(os.fstat(fd), upper=False), fd, os.O_RDONLY, str(path))


class Run:
    """A run that is to stop, or not."""

    def __init__(self, stopping: Callable[[], bool] = lambda: False) -> None:
        self._stopping = stopping

    @property
    def stopping(self) -> bool:
        return self._stopping()


def stream(fd: int, flags: int, stopping: Callable[[], bool] = lambda: False) -> Stream:
    return Stream(fd, flags, 1, cast("Any", Run(stopping)))


def names(file: OpenFile) -> list[str]:
    return [entry.name for entry in file.entries()]


def refused(fs: FsStruct, path: str, flags: int = 0) -> int:
    with pytest.raises(LinuxError) as caught:
        fs.open(path, flags)
    return caught.value.errno


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "data").write_bytes(b"0123456789")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "given-not").write_bytes(b"secret")
    (tmp_path / "given" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "given" / "inner").symlink_to(tmp_path / "given" / "data")
    os.mkfifo(tmp_path / "given" / "pipe")
    return tmp_path


def test_made_up_file_and_program() -> None:
    fs = file_system()
    assert fs.open("/proc/self/status", 0).read(100) == b"VmPTE:\t4 kB\n"
    assert fs.open("/bin/../bin/./program", 0).read(4) == b"prog"
    assert file_system(cwd="/bin").open("program", 0).read(4) == b"prog"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "//etc/passwd", "../../etc/passwd", "/proc/1/status", "/dev/null"]
)
def test_the_host_does_not_exist(path: str) -> None:
    assert refused(file_system(), path) == errno.ENOENT


def test_empty_path_and_path_below_a_file() -> None:
    assert refused(file_system(), "") == errno.ENOENT
    assert refused(file_system(), "/proc/self/status/x") == errno.ENOTDIR


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_TRUNC])
def test_nothing_can_be_written(host: Path, flags: int) -> None:
    fs = file_system((str(host / "given"),))
    for path in ("/proc/self/status", "/bin/program"):
        assert refused(fs, path, flags) in (errno.EACCES, errno.EROFS)
    assert refused(fs, str(host / "given" / "data"), flags) == errno.EROFS
    assert refused(fs, str(host / "given" / "new"), O_CREAT | os.O_WRONLY) == errno.EROFS
    assert (host / "given" / "data").read_bytes() == b"0123456789"
    assert not (host / "given" / "new").exists()


def test_given_directory(host: Path) -> None:
    fs = file_system((str(host / "given"),))
    file = fs.open(str(host / "given" / "data"), 0)
    assert (file.read(4), file.pread(2, 8), file.size) == (b"0123", b"89", 10)
    file.close()
    assert fs.open(str(host / "given" / "inner"), 0).read(1) == b"0"


def test_no_way_out_of_a_given_directory(host: Path) -> None:
    fs = file_system((str(host / "given"),))
    assert refused(fs, str(host / "given" / "link")) == errno.ENOENT
    assert refused(fs, str(host / "given" / ".." / "secret")) == errno.ENOENT
    assert refused(fs, str(host / "given-not")) == errno.ENOENT
    assert refused(fs, str(host / "given" / "pipe")) == errno.ENXIO
    assert refused(fs, str(host / "given"), os.O_RDWR) == errno.EISDIR
    assert refused(fs, str(host / "given" / "data"), O_DIRECTORY) == errno.ENOTDIR


def test_a_directory_lists_what_can_be_reached(host: Path) -> None:
    fs = file_system((str(host / "given"), str(host / "secret")))
    assert names(fs.open("/", 0)) == [".", "..", "bin", "proc", host.parts[1]]
    assert names(fs.open(str(host), O_DIRECTORY)) == [".", "..", "given", "secret"]
    given = fs.open(str(host / "given"), 0)
    assert names(given) == [".", "..", "data", "inner", "link", "pipe"]
    assert names(given) == []
    given.seek(2, os.SEEK_SET)
    assert next((e.name, stat.S_ISREG(e.kind)) for e in given.entries()) == ("data", True)
    with pytest.raises(LinuxError, match="EISDIR"):
        given.read(1)


def test_paths_start_at_the_working_directory_or_another(host: Path) -> None:
    fs = file_system((str(host / "given"),))
    other = fs.copy()
    fs.chdir(str(host / "given"))
    assert (fs.cwd, other.cwd) == (str(host / "given"), "/")
    assert fs.open("data", 0).read(2) == b"01"
    assert fs.open("data", 0, fs.lookup(str(host / "given"))).read(2) == b"01"
    assert refused(other, "data") == errno.ENOENT
    with pytest.raises(LinuxError, match="ENOTDIR"):
        fs.chdir("data")


def test_host_descriptor_is_given_back(host: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    table = FileTable()
    fd = table.install(host_file(host / "given" / "data"))
    copy = table.install(table.get(fd))
    table.close(fd)
    assert table.get(copy).read(1) == b"0"
    table.close_all()
    assert len(os.listdir("/proc/self/fd")) == before


def test_lowest_free_number_and_its_end() -> None:
    table = FileTable()
    numbers = [table.install(DataFile(b"")) for _ in range(RLIMIT_NOFILE)]
    assert numbers == list(range(RLIMIT_NOFILE))
    with pytest.raises(LinuxError, match="EMFILE"):
        table.install(DataFile(b""))
    table.close(7)
    assert table.install(DataFile(b"")) == 7
    with pytest.raises(LinuxError, match="EBADF"):
        table.get(RLIMIT_NOFILE)


def test_dup2_onto_itself_keeps_the_file(host: Path) -> None:
    table = FileTable()
    file = host_file(host / "given" / "data")
    fd = table.install(file)
    table.replace(fd, file)
    assert table.get(fd).read(1) == b"0"
    table.close_all()


def test_stream_writes_everything_through_a_full_pipe() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    data = bytes(range(256)) * 400
    received = bytearray()

    def drain() -> None:
        while part := os.read(reader, 1000):
            received.extend(part)

    thread = threading.Thread(target=drain)
    thread.start()
    assert stream(writer, os.O_WRONLY).write(data) == len(data)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert bytes(received) == data


def test_stream_without_reader_is_epipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(LinuxError, match="EPIPE"):
        stream(writer, os.O_WRONLY).write(b"x")
    os.close(writer)


def test_reading_an_empty_stream_does_not_wait() -> None:
    reader, writer = os.pipe()
    file = stream(reader, 0)
    with pytest.raises(LinuxError, match="EAGAIN"):
        file.read(1)
    assert file.poll() == 0
    os.write(writer, b"abc")
    assert (file.poll() & select.POLLIN, file.nr_readable(), file.read(2)) == (1, 3, b"ab")
    file.unread(b"b")
    os.close(writer)
    assert (file.read(9), file.read(9), file.read(9)) == (b"b", b"c", b"")
    os.close(reader)


def linked(host: Path) -> Path:
    """Links of every kind beside and inside the directory that is given."""
    (host / "name").symlink_to("given")
    (host / "given" / "up").symlink_to("../given/data")
    (host / "given" / "out").symlink_to("../secret")
    (host / "given" / "root").symlink_to("/")
    (host / "given" / "loop").symlink_to("loop")
    (host / "given" / "gone").symlink_to("nothing")
    (host / "given" / "sub").mkdir()
    (host / "given" / "sub" / "back").symlink_to("../data")
    (host / "other").mkdir()
    (host / "other" / "far").symlink_to(host / "given" / "data")
    return host


def test_a_link_that_is_given_leads_under_its_own_name_and_the_real_one(host: Path) -> None:
    linked(host)
    fs = file_system((str(host / "name"),))
    assert fs.open(str(host / "name" / "data"), 0).read(2) == b"01"
    assert fs.open(str(host / "given" / "data"), 0).read(2) == b"01"


def test_a_relative_name_is_found_from_where_the_guest_is(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(host / "given")
    fs = file_system(("data", "../secret"), cwd=str(host / "given"))
    assert fs.open("data", 0).read(2) == b"01"
    assert fs.open("../secret", 0).read(6) == b"secret"
    assert refused(fs, "inner") == errno.ENOENT


def test_links_inside_are_followed_between_what_was_given(host: Path) -> None:
    linked(host)
    fs = file_system((str(host / "given"), str(host / "other")))
    for path in ("given/up", "given/sub/back", "given/sub/../inner", "other/far"):
        assert fs.open(str(host / path), 0).read(2) == b"01", path


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("given/out", errno.ENOENT),
        ("given/root/etc/passwd", errno.ENOENT),
        ("given/loop", errno.ELOOP),
        ("given/gone", errno.ENOENT),
        ("given/sub/../../secret", errno.ENOENT),
        ("given/data/", errno.ENOTDIR),
        ("given/data/.", errno.ENOTDIR),
        ("given/data/x", errno.ENOTDIR),
        ("other/far", errno.ENOENT),
    ],
)
def test_no_link_leads_out(host: Path, path: str, error: int) -> None:
    linked(host)
    assert refused(file_system((str(host / "given"),)), str(host) + "/" + path) == error


def test_magic_links_of_proc_lead_nowhere(host: Path) -> None:
    fs = file_system(("/proc",))
    with open(host / "secret", "rb") as secret:
        for path in (f"fd/{secret.fileno()}", "root/etc/passwd", "cwd/pyproject.toml", "exe"):
            assert refused(fs, f"/proc/{os.getpid()}/{path}") in (errno.EACCES, errno.ENOENT), path
    assert fs.open("/proc/self/status", 0).read(5) == b"VmPTE"


def test_a_directory_that_becomes_a_link_leads_nowhere(host: Path) -> None:
    fs = file_system((str(host / "given"),))
    (host / "given").rename(host / "moved")
    (host / "given").symlink_to("/etc")
    assert refused(fs, str(host / "given" / "passwd")) == errno.ENOENT
    assert fs.open(str(host / "given" / "data"), 0).read(2) == b"01"


def test_links_are_links_to_lstat_and_readlink(host: Path) -> None:
    linked(host)
    fs = file_system((str(host / "given"),))
    link = str(host / "given" / "up")
    assert fs.readlink(link) == "../given/data"
    assert stat.S_ISLNK(mode_of(fs.stat(link, follow=False)))
    assert stat.S_ISREG(mode_of(fs.stat(link)))
    assert stat.S_ISDIR(mode_of(fs.stat(str(host))))
    assert refused(fs, link, O_NOFOLLOW) == errno.ELOOP
    with pytest.raises(LinuxError, match="EINVAL"):
        fs.readlink(str(host / "given" / "data"))


def mode_of(status: bytes) -> int:
    return int(struct.unpack_from("<I", status, 24)[0])


@pytest.mark.parametrize("path", ["", "nosuch", "/dev/null", "a\0b"])
def test_what_is_not_there_cannot_be_given(path: str, host: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ViewError):
        file_system((str(host / "given"), path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_walks_give_every_descriptor_back(host: Path) -> None:
    linked(host)
    before = len(os.listdir("/proc/self/fd"))
    fs = file_system((str(host / "given"), str(host / "name"), str(host / "given")))
    for path in ("given/up", "given/out", "given/loop", "given/sub/../data", "given/data/x"):
        with suppress(LinuxError):
            fs.open(str(host / path), 0).close()
    fs.tree.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_write_ends_when_the_run_is_to_stop_and_nobody_reads() -> None:
    reader, writer = os.pipe()
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    written = stream(writer, os.O_WRONLY, stop.is_set).write(bytes(1 << 20))
    assert 0 < written < 1 << 20
    os.close(reader)
    os.close(writer)


def test_what_a_reader_still_takes_is_written_though_the_run_is_to_stop() -> None:
    reader, writer = os.pipe()
    assert stream(writer, os.O_WRONLY, lambda: True).write(b"last words") == 10
    assert os.read(reader, 100) == b"last words"
    os.close(reader)
    os.close(writer)
