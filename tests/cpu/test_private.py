# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn's private parts are tried before use, and everything works without them
(UCMMU_PRIVATE=0).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cpu._engine import lib
from cpu.linkage import PRIVATE_VERSION, private_parts, uc_api

ROOT = Path(__file__).resolve().parents[2]
PARTS = [name for name in dir(lib) if name.startswith("PRIVATE_") and name != "PRIVATE_ALL"]
NEEDS = {
    "PRIVATE_SET_PAGE": lib.PRIVATE_FLUSH_PAGE,
    "PRIVATE_LOAD_RIP": lib.PRIVATE_FLUSH_PAGE,
    "PRIVATE_ASKER": lib.PRIVATE_FILL_ADDRESS,
}
LEG = [
    "test_counting.py",
    "test_slices.py",
    "test_self_modifying.py",
    "test_page_crossing.py",
    "test_memos.py",
    "test_owners.py",
    "test_precise_faults.py",
    "test_rmw_faults.py",
    "test_stack_faults.py",
    "test_wide_accesses.py",
    "test_exceptions.py",
    "test_exact.py",
    "test_attach.py",
    "test_attach_memory.py",
    "test_own_lookups.py",
    "test_context.py",
    "test_code_of_two_cpus.py",
    "test_control_registers.py",
    "test_invpcid.py",
    "test_implicit_accesses.py",
    "test_deliver.py",
    "test_guest_kernel.py",
    "test_regions.py",
]
PROCESSES = 4
"""How many of them share the files: each imports everything anew."""


@pytest.mark.parametrize("name", PARTS)
def test_each_part_passes_its_self_test_alone(name: str) -> None:
    needs = NEEDS.get(name, 0)
    wanted = getattr(lib, name) | needs
    assert lib.private_self_test(uc_api(), wanted) == wanted


def test_all_parts_are_used_with_the_pinned_unicorn() -> None:
    if os.environ.get("UCMMU_PRIVATE") == "0":
        assert private_parts() == 0
    else:
        assert private_parts() == lib.PRIVATE_ALL
    assert PRIVATE_VERSION >> 8 == 0x020104


@pytest.mark.skipif(os.environ.get("UCMMU_PRIVATE") == "0", reason="this is that leg")
@pytest.mark.parametrize("part", range(PROCESSES))
def test_without_private_parts(part: int) -> None:
    """The tests of this folder, on Unicorn's public API alone."""
    files = [f"tests/cpu/{file}" for file in LEG[part::PROCESSES]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env={**os.environ, "UCMMU_PRIVATE": "0", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
