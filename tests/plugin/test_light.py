# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a project that does not use the plugin pays nothing for it: no import, no change."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("mmu", "cpu", "unicorn", "numpy", "cffi", "zstandard", "capstone", "ucmmu.testing")


def test_importing_it_loads_nothing_of_ours() -> None:
    script = (
        "import pytest, sys; before = set(sys.modules); import ucmmu.pytest_plugin;"
        " print(*sorted(set(sys.modules) - before))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert out == ["ucmmu", "ucmmu.pytest_plugin"]


def test_a_session_without_its_fixtures_loads_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import sys
        import pytest

        @pytest.fixture
        def mmu(): return 1

        def test_it(mmu):
            assert mmu == 1
            assert [name for name in {HEAVY} if name in sys.modules] == []

        def test_that_fails_shows_nothing(mmu):
            assert mmu == 2
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1, failed=1)
    assert "ucmmu:" not in result.stdout.str()


def test_what_it_adds(pytestconfig: pytest.Config, pytester: pytest.Pytester) -> None:
    """No autouse; its fixtures are these and no more."""
    result = pytester.runpytest("--fixtures", "-p", "no:cacheprovider")
    own = [
        line.split()[0]
        for line in result.outlines
        if "ucmmu/pytest_plugin.py:" in line and not line.startswith("-")
    ]
    assert sorted(own) == [
        "assert_events",
        "assert_fault",
        "assert_flushed",
        "assert_refcounts",
        "assert_walk",
        "guest",
        "machine",
        "mm",
        "mmu",
        "ram",
        "ucmmu_options",
        "ucmmu_scene",
    ]
    markers = pytester.runpytest("--markers").stdout.str()
    assert "@pytest.mark.ucmmu(engine, policy, cpus, seed, geometry, levels" in markers
