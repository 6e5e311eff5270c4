# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the marker ucmmu says on which machines a test runs; a value that there is not is one clear
line.
"""

from __future__ import annotations

import pytest

from ucmmu.testing.options import MachineOptions, WrongOption, default_pairs, ids, machines

DEFAULTS = [("c", "never"), ("c", "refcount"), ("python", "refcount")]


@pytest.mark.parametrize(
    ("marked", "has_policy", "names"),
    [
        ({}, True, ["c-never", "c-refcount", "python-refcount"]),
        ({}, False, ["c", "python"]),
        ({"engine": "c"}, True, ["c-never", "c-refcount"]),
        ({"policy": "scan"}, True, ["c", "python"]),
        ({"policy": ["never", "scan"], "engine": "python"}, True, ["python-never", "python-scan"]),
        ({"engine": "c", "cpus": [1, 2]}, False, ["c-cpus=1", "c-cpus=2"]),
        ({"engine": "c", "levels": [4, 5]}, False, ["c-levels=4", "c-levels=5"]),
        ({"engine": "c", "seed": range(2)}, False, ["c-seed=0", "c-seed=1"]),
        ({"engine": "c", "geometry": ["tiny", "zen4"]}, False, ["c-tiny", "c-zen4"]),
        ({"engine": "c", "fidelity": ["fast", "trace"]}, False, ["c-fast", "c-trace"]),
    ],
)
def test_machines(marked: dict[str, object], has_policy: bool, names: list[str]) -> None:
    made = machines(marked, DEFAULTS, has_policy=has_policy)
    assert ids(made) == names


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        (
            {"engin": "c"},
            "no keyword engin: known are engine, policy, cpus, seed, geometry, levels",
        ),
        ({"engine": "rust"}, "no engine 'rust': known are c, python"),
        ({"policy": ["never", "eager"]}, "no policy 'eager': known are never, scan, refcount"),
        ({"fidelity": "slow"}, "no fidelity 'slow': known are fast, exact, trace"),
        ({"cpus": 0}, "cpus must be 1 to 64, not 0"),
        ({"cpus": 65}, "cpus must be 1 to 64, not 65"),
        ({"cpus": "2"}, "cpus must be a whole number, not '2'"),
        ({"cpus": True}, "cpus must be a whole number, not True"),
        ({"levels": 3}, "levels of paging must be 4 or 5, not 3"),
        ({"levels": 5, "geometry": "skylake"}, "levels=5: the processor of geometry skylake has"),
        ({"geometry": "no_such"}, "no_such"),
        ({"geometry": 5}, "geometry must be a name, a path or a Geometry, not 5"),
        ({"ram": 4096}, "ram must be at least 1048576 bytes, not 4096"),
        ({"seed": -1}, "seed must not be negative: -1"),
    ],
)
def test_a_value_that_there_is_not(marked: dict[str, object], message: str) -> None:
    with pytest.raises(WrongOption) as caught:
        machines(marked, DEFAULTS, has_policy=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_ini_option() -> None:
    assert default_pairs(["c/never", "python/scan"]) == [("c", "never"), ("python", "scan")]
    with pytest.raises(WrongOption, match="no policy ''"):
        default_pairs(["c"])


@pytest.mark.ucmmu(engine="c", policy="scan", cpus=3, ram=2 << 20, geometry="zen2")
class TestNearest:
    """The nearest marker wins, and keeps what it does not say."""

    @pytest.mark.ucmmu(cpus=2)
    def test_it(self, mm, ucmmu_options: MachineOptions) -> None:  # type: ignore[no-untyped-def]
        assert len(mm.kernel.cpus) == 2
        assert (mm.kernel.policy.label, mm.memory.size) == ("scan", 2 << 20)
        assert {cpu.mmu.geometry.name for cpu in mm.kernel.cpus} == {"zen2"}
        assert ucmmu_options == MachineOptions(policy="scan", cpus=2, ram=2 << 20, geometry="zen2")


def lines(pytester: pytest.Pytester, marker: str, fixture: str) -> list[str]:
    """What pytest says of a test with this marker."""
    pytester.makepyfile(f"import pytest\n\n@pytest.mark.{marker}\ndef test_it({fixture}): pass\n")
    result = pytester.runpytest("-p", "no:cacheprovider", "--strict-markers")
    assert result.ret == 2
    return [line for line in result.outlines if line.startswith("marker ucmmu")]


@pytest.mark.parametrize(
    ("marker", "fixture", "message"),
    [
        ("ucmmu(policy='eager')", "mm", "no policy 'eager': known are"),
        ("ucmmu(2)", "mm", "values need a name, as in ucmmu(cpus=2)"),
        ("ucmmu(levels=5)", "mm", "levels=5: the kernel's mm has 4 levels, ask for mmu alone"),
        ("ucmmu()", "mm, machine", "a machine has MMUs and mms of its own"),
    ],
)
def test_pytest_says_it_in_a_line(
    pytester: pytest.Pytester, marker: str, fixture: str, message: str
) -> None:
    (line,) = lines(pytester, marker, fixture)
    assert line.startswith(f"marker ucmmu of test_pytest_says_it_in_a_line.py::test_it: {message}")


def test_both_engines_and_our_default_policy_elsewhere(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(mm): assert mm.kernel.policy.label == 'refcount'")
    result = pytester.runpytest("-p", "no:cacheprovider", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_it?c? PASSED*", "*::test_it?python? PASSED*"])


def test_a_project_sets_its_own_default(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nucmmu_machines = c/never c/scan")
    pytester.makepyfile("def test_it(mm): pass")
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=2)
