# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what was given to be read only stays as it is on the host, also where it lies in a
directory that guests may write to, whatever name leads to it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpu.fs.files import O_RDWR, O_TRUNC
from cpu.fs.namespace import RENAME_EXCHANGE
from cpu.fs.node import Change
from cpu.fs.view import Given
from tests.guests.overlay_world import World, refused


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """/out is a user's, /out/kept and /out/x/kept are given, /alias is /out by another name."""
    world = World(tmp_path)
    kept, deep = world.writable / "kept", world.writable / "x" / "kept"
    for path in (kept, deep):
        path.mkdir(parents=True)
        (path / "file").write_text("mine")
    world.more = (
        Given("/alias", str(world.writable), writable=True),
        Given("/out/kept", str(kept)),
        Given("/out/x/kept", str(deep)),
    )
    world.begin()
    yield world
    world.end()
    files = [path.read_text() for path in tmp_path.rglob("file") if "upper" not in path.parts]
    assert files == ["mine", "mine"]


def test_writes_go_to_the_layer(world: World) -> None:
    world.write("/out/kept/file", b"ours")
    world.write("/out/kept/new", b"new")
    world.fs.unlink("/out/x/kept/file")
    assert world.read("/out/kept/file") == b"ours"
    assert world.names("/out/x/kept") == []
    assert os.listdir(world.writable / "kept") == ["file"]


def test_it_stays_where_it_is(world: World) -> None:
    with refused(errno.EBUSY):
        world.fs.rename("/out/kept", "/out/other")
    with refused(errno.EBUSY):
        world.fs.rename("/out/kept", "/out/x", RENAME_EXCHANGE)
    world.fs.rename("/out/x", "/out/y")
    world.write("/out/y/kept/file", b"ours")
    assert world.read("/out/y/kept/file") == b"ours"


def test_no_other_name_leads_around_it(world: World) -> None:
    world.fs.rename("/alias/x", "/alias/y")
    for path in ("/alias/kept", "/alias/y/kept", "/out/y/kept"):
        with refused(errno.EACCES):
            world.open(path + "/file", O_RDWR | O_TRUNC)
        with refused(errno.EACCES):
            world.fs.unlink(path + "/file")
        with refused(errno.EACCES):
            world.fs.mkdir(path + "/new", 0o755)
        with refused(errno.EPERM):
            world.fs.lookup(path).node.setattr(Change(mode=0o777))
    with refused(errno.EBUSY):
        world.fs.rename("/alias/kept", "/alias/other")
