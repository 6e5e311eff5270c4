# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: `pip wheel .` makes one wheel for every CPython, which runs where no source tree is.

The versions of .venv stand in for an environment of its own; CONTRIBUTING.md has the whole command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_COPIED = shutil.ignore_patterns(".*", "build", "dist", "results", "*.so", "*.egg-info")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command that must succeed; return what it printed to stdout."""
    ended = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-cache-dir")
OFFLINE = ("--no-deps", "--no-index")


def quick_compiler(folder: Path) -> str:
    """A C compiler that leaves optimizing: nothing here depends on it."""
    compiler = folder / "cc"
    real = (sysconfig.get_config_var("CC") or "cc").split()[0]
    compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CC", real)} "$@" -O0\n')
    compiler.chmod(0o755)
    return str(compiler)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel; the source that it is built from is no more."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    shutil.copytree(ROOT, source, ignore=NOT_COPIED)
    guests = Path("guest_programs", "build")
    shutil.copytree(ROOT / guests, source / guests)  # up to date: setup.py's `make` has less to do
    options = (*OFFLINE, "--no-build-isolation")
    run(*PIP, "wheel", *options, "-w", base, source, cwd=base, CC=quick_compiler(base))
    (wheel,) = base.glob("*.whl")
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert "-cp310-abi3-linux_" in wheel.name
    shutil.rmtree(source)
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder with what the wheel installs."""
    target = wheel.parent / "installed"
    run(*PIP, "install", *OFFLINE, "--target", target, wheel, cwd=wheel.parent)
    return target


@pytest.fixture(scope="module")
def environment(wheel: Path) -> Path:
    """The Python of a fresh virtual environment where the wheel is installed; what it depends on
    comes from .venv.
    """
    base = wheel.parent / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", base, cwd=wheel.parent)
    python = base / "bin" / "python"
    run(*PIP, "--python", python, "install", *OFFLINE, wheel, cwd=wheel.parent)
    site = Path(run(python, "-c", "import site; print(*site.getsitepackages())", cwd=base).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_it_is_the_wheel_that_is_imported(installed: Path, tmp_path: Path) -> None:
    script = "import mmu._native, cpu._engine; print(mmu._native.__file__, cpu._engine.__file__)"
    files = run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert files == [str(installed / "mmu/_native.abi3.so"), str(installed / "cpu/_engine.abi3.so")]


@pytest.mark.parametrize("package", ["mmu", "cpu", "ucmmu"])
def test_every_file_of_the_tree_is_there(installed: Path, package: str) -> None:
    built = {".pyc", ".so", ".pyi"}
    missing = [
        str(file.relative_to(ROOT))
        for file in (ROOT / package).rglob("*")
        if file.is_file()
        and file.suffix not in built
        and not (installed / file.relative_to(ROOT)).is_file()
    ]
    assert missing == []


def test_a_guest_runs_outside_of_the_tree(installed: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "ucmmu", "run", "--fidelity", "exact", "hello")
    out = run(*command, cwd=tmp_path, PYTHONPATH=str(installed))
    assert out.startswith("hello, world\n")


def test_the_type_checker_is_told(installed: Path) -> None:
    for name in ("mmu/py.typed", "mmu/_native.pyi", "cpu/py.typed", "cpu/_engine.pyi"):
        assert (installed / name).is_file(), name


FIVE_LINES = """
from ucmmu.testing import assert_events, event, write


def test_a_read_only_page(mmu, assert_walk, assert_fault):
    mmu.map(0x400000, pa=0x1000, rights="ru")
    assert_walk(0x400123, pa=0x1123, level=1, rights="ru")
    assert_fault(write(0x400000), code=7, cr2=0x400000)


def test_the_last_page_takes_its_table_along(mm, assert_refcounts, assert_flushed):
    mm.vma(0x1000000000, "8K")
    mm.touch(0x1000000000, pages=2)
    assert_refcounts(mm, {0x1000000000: 2})
    mm.munmap(0x1000000000, 8192)
    assert_flushed(0, 0x1000000000)


def test_a_store(guest, assert_walk):
    run = guest.asm("mov byte ptr [data], 1")
    run.step()
    assert_walk(run.symbol("data"), "write", dirty=True)
    assert run.run().exit_code == 0
"""
WRONG = """
def test_a_wrong_count(mm, assert_refcounts):
    mm.vma(0x1000000000, "8K")
    mm.touch(0x1000000000)
    assert_refcounts(mm, {0x1000000000: 2})
"""


def test_the_pytest_plugin_in_a_fresh_environment(environment: Path, tmp_path: Path) -> None:
    """Tests of five lines in an empty folder pass, on both engines; a wrong one shows why it
    failed.
    """
    where = run(environment, "-c", "import ucmmu; print(ucmmu.__file__)", cwd=tmp_path)
    assert where.startswith(str(environment.parents[1]))
    (tmp_path / "test_five_lines.py").write_text(FIVE_LINES)
    assert "6 passed" in run(environment, "-m", "pytest", cwd=tmp_path)
    (tmp_path / "test_wrong.py").write_text(WRONG)
    failed = subprocess.run(
        [environment, "-m", "pytest", "test_wrong.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    for text in (
        "PTE table of 0x1000000000: 1 reference, not 2 references",
        "- ucmmu: walk, CPU 0 -",
        "PTE   at 0x",
        "- ucmmu: tables -",
        "- ucmmu: TLB of CPU 0 -",
        "- ucmmu: last 30 events -",
        "2 failed",
    ):
        assert text in failed.stdout, text
