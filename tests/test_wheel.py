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


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    base = tmp_path_factory.mktemp("wheel")
    source, target = base / "source", base / "installed"
    shutil.copytree(ROOT, source, ignore=NOT_COPIED)
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-cache-dir")
    offline = ("--no-deps", "--no-index")
    run(*pip, "wheel", *offline, "--no-build-isolation", "-w", base, source, cwd=base)
    (wheel,) = base.glob("*.whl")
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert "-cp310-abi3-linux_" in wheel.name
    run(*pip, "install", *offline, "--target", target, wheel, cwd=base)
    shutil.rmtree(source)
    return target


def test_it_is_the_wheel_that_is_imported(installed: Path, tmp_path: Path) -> None:
    script = "import mmu._native, cpu._engine; print(mmu._native.__file__, cpu._engine.__file__)"
    files = run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert files == [str(installed / "mmu/_native.abi3.so"), str(installed / "cpu/_engine.abi3.so")]


def test_a_guest_runs_outside_of_the_tree(installed: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "ucmmu", "run", "--fidelity", "exact", "hello")
    out = run(*command, cwd=tmp_path, PYTHONPATH=str(installed))
    assert out.startswith("hello, world\n")


def test_the_type_checker_is_told(installed: Path) -> None:
    for name in ("mmu/py.typed", "mmu/_native.pyi", "cpu/py.typed", "cpu/_engine.pyi"):
        assert (installed / name).is_file(), name
