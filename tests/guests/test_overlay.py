# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what guests write goes to the upper layer, and the host's files stay as they are; programs
see one tree.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpu.fs.files import O_CREAT, O_RDWR, O_TRUNC, O_WRONLY
from cpu.fs.namespace import RENAME_EXCHANGE
from cpu.fs.node import Change, Making
from tests.guests.overlay_world import USER, World, refused
from ucmmu.upper import remove_tree


def lower_of(world: World) -> dict[str, bytes]:
    return {
        str(path.relative_to(world.lower)): path.read_bytes()
        for path in world.lower.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    (world.lower / "file").write_bytes(b"below")
    (world.lower / "sub" / "deep").mkdir(parents=True)
    (world.lower / "sub" / "one").write_bytes(b"1")
    (world.lower / "sub" / "deep" / "two").write_bytes(b"2")
    (world.lower / "link").symlink_to("sub/one")
    os.link(world.lower / "file", world.lower / "hard")
    before = lower_of(world)
    world.begin()
    yield world
    world.end()
    assert lower_of(world) == before


def test_a_file_is_copied_up_when_it_is_opened_for_writing(world: World) -> None:
    reader = world.open("/low/file")
    world.write("/low/file", b"BE")
    assert world.read("/low/file") == b"BElow"
    assert reader.read(5) == b"BElow"
    reader.put()


def test_hard_links_below_stay_together(world: World) -> None:
    world.write("/low/file", b"X")
    assert world.read("/low/hard") == b"Xelow"
    assert world.fs.lookup("/low/hard").getattr().nlink == 2
    world.fs.unlink("/low/file")
    assert world.fs.lookup("/low/hard").getattr().nlink == 1


def test_what_is_taken_away_is_gone_and_can_be_made_anew(world: World) -> None:
    world.fs.unlink("/low/sub/one")
    with refused(errno.ENOENT):
        world.read("/low/sub/one")
    with refused(errno.ENOENT):
        world.read("/low/link")
    assert world.names("/low/sub") == ["deep"]
    world.write("/low/sub/one", b"new")
    assert (world.read("/low/link"), world.names("/low/sub")) == (b"new", ["deep", "one"])


def test_a_directory_made_anew_does_not_show_what_was_below(world: World) -> None:
    world.fs.unlink("/low/sub/one")
    world.fs.unlink("/low/sub/deep/two")
    world.fs.rmdir("/low/sub/deep")
    world.fs.rmdir("/low/sub")
    world.fs.mkdir("/low/sub", 0o755)
    assert world.names("/low/sub") == []


def test_a_directory_of_the_host_s_moves_with_all_that_it_holds(world: World) -> None:
    world.fs.rename("/low/sub", "/tmp/moved")
    assert world.read("/tmp/moved/deep/two") == b"2"
    assert world.names("/low") == ["file", "hard", "link"]
    world.write("/tmp/moved/deep/two", b"two")
    assert world.read("/tmp/moved/deep/two") == b"two"


def test_exchange_of_a_file_below_and_a_directory_above(world: World) -> None:
    world.fs.mkdir("/tmp/d", 0o755)
    world.fs.rename("/low/file", "/tmp/d", RENAME_EXCHANGE)
    assert world.read("/tmp/d") == b"below"
    assert world.names("/low/file") == []


def test_a_directory_that_is_not_empty_below_cannot_be_removed(world: World) -> None:
    with refused(errno.ENOTEMPTY):
        world.fs.rmdir("/low/sub")
    world.fs.mkdir("/tmp/d", 0o755)
    with refused(errno.ENOTEMPTY):
        world.fs.rename("/tmp/d", "/low/sub")


def test_an_open_file_outlives_its_name(world: World) -> None:
    for path in ("/low/file", "/tmp/new"):
        file = world.open(path, O_RDWR | O_CREAT)
        file.write(b"here")
        world.fs.unlink(path)
        assert file.shown_path() == path + " (deleted)"
        assert file.pread(4, 0) == b"here"
        assert file.getattr().nlink == (1 if path == "/low/file" else 0)
        file.put()


def test_the_store_of_a_file_goes_with_its_last_name_and_user(world: World) -> None:
    file = world.open("/tmp/new", O_RDWR | O_CREAT)
    file.write(bytes(100_000))
    assert world.inodes.space.used >= 100_000
    world.fs.unlink("/tmp/new")
    file.put()
    assert (world.inodes.space.used, os.listdir(world.upper)) == (0, [])
    assert world.tree.layer.nr_files == 1  # /tmp itself, which was changed


def test_bytes_are_limited(tmp_path: Path) -> None:
    world = World(tmp_path, limit=1 << 16)
    (world.lower / "large").write_bytes(bytes(range(256)) * 512)
    world.begin()
    with refused(errno.ENOSPC):
        world.write("/low/large", b"x")
    file = world.open("/tmp/new", O_WRONLY | O_CREAT)
    assert file.write(bytes(1 << 17)) <= 1 << 16
    with refused(errno.ENOSPC):
        file.write(bytes(1 << 13))
    file.put()
    world.fs.unlink("/tmp/new")
    world.write("/tmp/other", bytes(1 << 14))
    assert world.read("/low/large")[:4] == bytes(range(4))
    world.end()


def test_files_are_limited(tmp_path: Path) -> None:
    world = World(tmp_path, files=10)
    world.begin()
    with refused(errno.ENOSPC):
        for number in range(20):
            world.fs.mkdir(f"/tmp/{number}", 0o755)
    world.fs.rmdir("/tmp/3")
    world.fs.symlink("x", "/tmp/link")
    with refused(errno.ENOSPC):
        world.fs.mknod("/tmp/fifo", stat.S_IFIFO | 0o600)
    world.end()


def test_without_an_upper_layer_nothing_can_be_written(world: World) -> None:
    world.tree.layer.close()
    world.tree.overlay.read_only = True
    for path in ("/low/file", "/tmp/new"):
        with refused(errno.EROFS):
            world.write(path, b"x")
    with refused(errno.EROFS):
        world.fs.mkdir("/tmp/d", 0o755)
    with refused(errno.EROFS):
        world.fs.unlink("/low/file")


def test_what_not_everybody_may_read_does_not_exist(tmp_path: Path) -> None:
    world = World(tmp_path, public_only=True)
    (world.lower / "open").write_bytes(b"open")
    (world.lower / "closed").write_bytes(b"closed")
    (world.lower / "dir").mkdir()
    (world.lower / "dir" / "inner").write_bytes(b"inner")
    (world.lower / "link").symlink_to("closed")
    os.chmod(world.lower / "closed", 0o640)
    os.chmod(world.lower / "dir", 0o750)
    world.begin()
    assert world.names("/low") == ["link", "open"]
    for path in ("closed", "dir", "dir/inner", "link"):
        with refused(errno.ENOENT):
            world.read(f"/low/{path}")
    world.fs.mkdir("/low/dir", 0o755)
    assert world.names("/low/dir") == []
    world.end()


def test_the_kept_layer_has_what_was_changed_and_whiteouts(world: World) -> None:
    world.write("/low/file", b"BE")
    assert world.read("/low/hard") == b"BElow"
    world.fs.unlink("/low/link")
    world.fs.mkdir("/tmp/a", 0o700)
    world.write("/tmp/a/x", b"x")
    world.fs.link(world.fs.lookup("/tmp/a/x"), "/tmp/y")
    world.fs.symlink("a/x", "/tmp/s")
    world.fs.mknod("/tmp/fifo", stat.S_IFIFO | 0o600)
    world.fs.rename("/low/sub/deep", "/tmp/moved")
    world.fs.mkdir("/low/sub/deep", 0o755)
    assert world.kept() == {
        "low": "directory",
        "low/file": "BElow",
        "low/hard": "BElow",
        "low/.wh.link": "",
        "low/sub": "directory",
        "low/sub/deep": "directory",
        "low/sub/deep/.wh..wh..opq": "",
        "tmp": "directory",
        "tmp/a": "directory",
        "tmp/a/x": "x",
        "tmp/y": "x",
        "tmp/s": "-> a/x",
        "tmp/moved": "directory",
        "tmp/moved/two": "2",
    }
    assert (world.upper / "tmp/a").stat().st_mode & 0o777 == 0o700
    assert (world.upper / "tmp/a/x").stat().st_ino == (world.upper / "tmp/y").stat().st_ino


def test_a_changed_file_deep_below_is_kept_where_it_is(world: World) -> None:
    world.write("/low/sub/deep/two", b"TWO")
    assert world.kept() == {
        "low": "directory",
        "low/sub": "directory",
        "low/sub/deep": "directory",
        "low/sub/deep/two": "TWO",
    }


def test_names_of_whiteouts_are_no_guest_s_to_save(world: World) -> None:
    """A layer is saved whole, whatever a guest calls its files; none hides what it did not."""
    world.write("/1", b"one")
    for name in ("/.wh.low", "/tmp/.wh..wh..opq", "/.wh.link"):
        world.write(name, b"x")
    world.fs.mkdir("/.wh..stores", 0o755)
    world.write("/.wh..stores/1", b"x")
    long = world.lower / ("b" * 255)
    long.write_bytes(b"")
    world.fs.unlink(f"/low/{long.name}")
    assert world.kept() == {"1": "one", "low": "directory", "tmp": "directory"}
    assert world.tree_lost == 5
    long.unlink()


def test_many_hard_links_are_kept(world: World) -> None:
    """As many as there are, whatever descriptors there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(200):
        world.write(f"/tmp/{number}", b"")
        world.fs.link(world.fs.lookup(f"/tmp/{number}"), f"/tmp/{number}.too")
    world.fs.lookup("/low/file").node.setattr(Change(mode=0o600))
    assert world.fs.lookup("/low/hard").getattr().mode & 0o777 == 0o600
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, hard))
    try:
        kept = world.kept()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len([name for name in kept if name.endswith(".too")]) == 200
    for one, other in (("tmp/1", "tmp/1.too"), ("low/file", "low/hard")):
        assert (world.upper / one).stat().st_ino == (world.upper / other).stat().st_ino
    assert kept["low/file"] == "below"


def test_a_deep_directory_of_the_host_s_is_found_again(world: World) -> None:
    """Also when so many others were seen meanwhile that none above it is held open."""
    deep = world.fs.lookup("/out")
    node = deep.node
    for _ in range(2000):
        node = node.create("d", Making(stat.S_IFDIR | 0o755, 0, 0))
    for number in range(1100):
        world.fs.mkdir(f"/out/{number}", 0o755)
        world.names(f"/out/{number}")
    assert node.create("x", Making(stat.S_IFREG | 0o644, 0, 0)).getattr().size == 0
    remove_tree(str(world.writable))


def test_nothing_is_kept_of_a_run_that_changed_nothing(world: World) -> None:
    world.read("/low/sub/one")
    world.write("/tmp/x", b"x")
    world.fs.unlink("/tmp/x")
    assert world.kept() == {"tmp": "directory"}


def test_writable_directories_are_the_host_s(world: World) -> None:
    world.write("/out/x", b"hello")
    assert (world.writable / "x").read_bytes() == b"hello"
    world.fs.mkdir("/out/d", 0o750)
    world.fs.rename("/out/x", "/out/d/y")
    world.fs.symlink("d/y", "/out/s")
    assert (world.writable / "d" / "y").read_bytes() == b"hello"
    assert stat.S_IMODE((world.writable / "d").stat().st_mode) == 0o750
    assert world.read("/out/s") == b"hello"
    world.write("/out/s", b"H", O_WRONLY | O_TRUNC)
    assert (world.writable / "d" / "y").read_bytes() == b"H"
    world.fs.unlink("/out/d/y")
    world.fs.rmdir("/out/d")
    assert sorted(os.listdir(world.writable)) == ["s"]
    assert world.kept() == {}


def test_special_bits_and_owners_are_never_put_on_the_host(world: World) -> None:
    world.write("/out/x", b"x")
    node = world.fs.lookup("/out/x").node
    node.setattr(Change(mode=0o6755, uid=1234, gid=5))
    kstat = world.fs.lookup("/out/x").getattr()
    assert (kstat.mode, kstat.uid, kstat.gid) == (stat.S_IFREG | 0o6755, 1234, 5)
    info = (world.writable / "x").stat()
    assert (info.st_mode, info.st_uid) == (stat.S_IFREG | 0o755, os.getuid())
    world.fs.mkdir("/out/d", 0o755)
    world.fs.mknod("/out/d/fifo", stat.S_IFIFO | 0o600)
    world.fs.bind_socket("/out/d/socket")
    assert world.names("/out/d") == ["fifo", "socket"]
    assert os.listdir(world.writable / "d") == []
    with refused(errno.ENOTEMPTY):
        world.fs.rmdir("/out/d")
    world.fs.rename("/out/d/socket", "/out/socket")
    assert world.fs.find_socket("/out/socket") is not None


def test_a_link_in_a_writable_directory_leads_into_the_guests_tree(world: World) -> None:
    (world.path / "secret").write_bytes(b"secret")
    (world.writable / "up").symlink_to("../secret")
    (world.writable / "abs").symlink_to(world.path / "secret")
    for name in ("up", "abs"):
        with refused(errno.ENOENT):
            world.read(f"/out/{name}")
    with refused(errno.EXDEV):
        world.fs.rename("/low/file", "/out/file")


def test_rights_are_the_guest_s(world: World) -> None:
    world.write("/tmp/mine", b"x")
    world.cred = USER
    with refused(errno.EACCES):
        world.write("/tmp/mine", b"y")
    with refused(errno.EPERM):
        world.fs.unlink("/tmp/mine")  # /tmp is sticky
    with refused(errno.EACCES):
        world.fs.unlink("/low/file")
    world.write("/tmp/yours", b"y")
    kstat = world.fs.lookup("/tmp/yours").getattr()
    assert (kstat.uid, kstat.gid, kstat.mtime, kstat.btime) == (1000, 1000, world.now, world.now)
