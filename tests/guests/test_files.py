# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a guest sees its program, what we make up, and what it was given, read-only; nothing else of the host."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from cpu.files import O_CREAT, RLIMIT_NOFILE, DataFile, FileSystem, FileTable, HostFile, Stream
from mmu.errors import LinuxError
from mmu.linux.filemap import MappedFile


def file_system(allow: tuple[str, ...] = (), cwd: str = "/") -> FileSystem:
    program = MappedFile(b"program", path="/bin/program")
    made_up = {"/proc/self/status": lambda: b"VmPTE:\t4 kB\n"}
    return FileSystem(made_up, ("/bin/program", "/proc/self/exe"), program, b"program", allow=allow, cwd=cwd)


def refused(fs: FileSystem, path: str, flags: int = 0) -> int:
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
    "path", ["/etc/passwd", "/", "//etc/passwd", "../../etc/passwd", "/proc/1/status", "/dev/null"]
)
def test_the_host_does_not_exist(path: str) -> None:
    assert refused(file_system(), path) == errno.ENOENT


def test_empty_path_and_path_below_a_file() -> None:
    assert refused(file_system(), "") == errno.ENOENT
    assert refused(file_system(), "/proc/self/status/x") == errno.ENOTDIR


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_TRUNC])
def test_nothing_can_be_written(host: Path, flags: int) -> None:
    fs = file_system((str(host / "given"),))
    for path in ("/proc/self/status", "/bin/program", str(host / "given" / "data")):
        assert refused(fs, path, flags) == errno.EROFS
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
    assert refused(fs, str(host / "given" / "link")) == errno.EACCES
    assert refused(fs, str(host / "given" / ".." / "secret")) == errno.ENOENT
    assert refused(fs, str(host / "given-not")) == errno.ENOENT
    assert refused(fs, str(host / "given" / "pipe")) == errno.EACCES
    assert refused(fs, str(host / "given")) == errno.EACCES


def test_host_descriptor_is_given_back(host: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    table = FileTable()
    fd = table.install(HostFile(str(host / "given" / "data")))
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
    file = HostFile(str(host / "given" / "data"))
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
    assert Stream(writer, os.O_WRONLY, 1).write(data) == len(data)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert bytes(received) == data


def test_stream_without_reader_is_epipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(LinuxError, match="EPIPE"):
        Stream(writer, os.O_WRONLY, 1).write(b"x")
    os.close(writer)


def test_reading_ends_when_the_run_is_to_stop() -> None:
    reader, writer = os.pipe()
    with pytest.raises(LinuxError, match="EINTR"):
        Stream(reader, 0, 1, lambda: True).read(1)
    os.close(reader)
    os.close(writer)
