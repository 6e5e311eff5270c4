# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the bytes of files are the host's: read, written, mapped, shared between processes, cut
off, copied and locked, whatever the engine, the CPUs and the policy.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cpu.fs.view import Given, View, seen
from native.on_demand import BUILD
from tests.guests.build import build
from tests.guests.machine import Run, run

MACHINES: list[dict[str, Any]] = [
    {},
    {"fidelity": "exact", "check_tlb": True, "cpus": 2, "seed": 5, "quantum": 700},
    {"policy": "scan", "lockdep": True, "cpus": 2},
]
STEPS = "80"


@cache
def program(name: str) -> Path:
    return build(f"{name}.c", "-static", "-O1")


@cache
def on_the_host(name: str, *args: str) -> list[str]:
    """What it says in a directory of its own."""
    where = BUILD / f"{name}.{os.getpid()}"
    where.mkdir(parents=True, exist_ok=True)
    command = [str(program(name)), *args]
    done = subprocess.run(command, cwd=where, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().splitlines()


def in_a_directory(where: Path, name: str, *args: str, **options: Any) -> Run:
    """Run it here, in a directory that it may write."""
    given = Given("/files", os.path.realpath(where), writable=True)
    return run(program(name), *args, view=View(given=(given,), cwd="/files"), **options)


def in_the_upper_layer(where: Path, cwd: str, name: str, *args: str, **options: Any) -> Run:
    """Run it here, in a directory of the upper layer."""
    view = View(upper=os.path.realpath(where), cwd=cwd, fresh=("/tmp", "/dev/shm"))
    return run(program(name), *args, view=view, **options)


@pytest.mark.parametrize("options", MACHINES, ids=str)
def test_every_call_answers_as_the_host_s(options: dict[str, Any], tmp_path: Path) -> None:
    ours = in_a_directory(tmp_path, "file_data", **options)
    assert ours.text.splitlines() == on_the_host("file_data")
    assert ours.result.unknown_syscalls == []


@pytest.mark.parametrize("cwd", ["/tmp", "/dev/shm"])
def test_the_upper_layer_answers_as_the_host_s(cwd: str, tmp_path: Path) -> None:
    ours = in_the_upper_layer(tmp_path, cwd, "file_data")
    assert ours.text.splitlines() == on_the_host("file_data")


@pytest.mark.parametrize(
    ("options", "seed", "steps"),
    [
        ({}, 1, 150),
        ({"fidelity": "exact", "check_tlb": True, "cpus": 2, "seed": 5, "quantum": 700}, 2, 15),
        ({"policy": "scan", "lockdep": True, "cpus": 2}, 3, 60),
        ({"engine": "python"}, 4, 40),
    ],
    ids=str,
)
def test_random_steps_leave_the_bytes_that_they_leave_on_the_host(
    options: dict[str, Any], seed: int, steps: int, tmp_path: Path
) -> None:
    ours = in_a_directory(tmp_path, "file_random", str(seed), str(steps), **options)
    assert ours.text.splitlines() == on_the_host("file_random", str(seed), str(steps))
    last = ours.text.splitlines()[-1]
    data = (tmp_path / "random").read_bytes()
    assert f", {len(data)} bytes, {bsd_sum(data):x} " in last


@pytest.mark.parametrize("cwd", ["/tmp", "/dev/shm"])
def test_random_steps_in_the_upper_layer(cwd: str, tmp_path: Path) -> None:
    ours = in_the_upper_layer(tmp_path, cwd, "file_random", "5", "80")
    assert ours.text.splitlines() == on_the_host("file_random", "5", "80")


def test_the_upper_layer_is_full_where_it_is_to_be(tmp_path: Path) -> None:
    view = View(
        upper=os.path.realpath(tmp_path), cwd="/tmp", fresh=("/tmp", "/dev/shm"), limit=4 << 20
    )
    ours = run(program("file_room"), view=view)
    assert ours.text.splitlines() == [
        "done = 20",
        "write(fd, buffer, 3 * MIB) = 3145728",
        "write(fd, buffer, 3 * MIB) < 3 * MIB = 1",
        "write(fd, buffer, MIB) = -1 ENOSPC",
        "pwrite(fd, buffer, MIB, 0) = 1048576",
        "ftruncate(fd, 0) = 0",
        "write(fd, buffer, MIB) == MIB = 1",
        "ftruncate(fd, 64 * MIB) = 0",
        "fallocate(fd, 0, 0, 8 * MIB) = -1 ENOSPC",
        "i > 900 && i <= 1024 = 1",
        "ftruncate(fd, 0) = 0",
        "munmap(map, 8 * MIB) = 0",
        "write(fd, buffer, 3 * MIB) = 3145728",
        "ftruncate(fd, 0) = 0",
        "./: no more than fit",
        "/dev/shm/: no more than fit",
    ]


def test_a_program_that_runs_cannot_be_written_nor_one_that_is_written_run(tmp_path: Path) -> None:
    script = """
        cp /bin/sleep busy; exec 3>>busy; ./busy 0; echo $?; exec 3>&-; ./busy 0; echo $?
        ./busy 1000 & sleep 0.01; true >>busy; echo $?; kill $!; wait; true >>busy; echo $?
    """
    view = View(given=_system(), upper=os.path.realpath(tmp_path), cwd="/tmp", fresh=("/tmp",))
    ours = run("/bin/sh", "-c", script, view=view, env={"PATH": "/usr/bin:/bin"})
    assert ours.text.split() == ["126", "0", "2", "0"]
    assert ours.stderr.decode().count("Text file busy") == 2


def _system() -> tuple[Given, ...]:
    """The host's programs and libraries."""
    names = ("/bin", "/lib", "/lib64", "/usr", "/etc")
    return tuple(given for name in names if os.path.exists(name) for given in seen(name))


@pytest.mark.fuzz
def test_random_steps_for_long(tmp_path: Path) -> None:
    for seed in range(100, 140):
        ours = in_a_directory(tmp_path, "file_random", str(seed), "500")
        assert ours.text.splitlines() == on_the_host("file_random", str(seed), "500"), seed


def bsd_sum(data: bytes) -> int:
    """What the program prints of all its bytes."""
    total = 5381
    for byte in data:
        total = total * 33 + byte & (1 << 64) - 1
    return total
