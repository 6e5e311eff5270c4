# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: docs/races.md shows of each published defect an order that fails, as ``ucmmu race`` prints
it. ``python -m tests.races.test_races_doc`` finds the orders anew and writes them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.races.variants import VARIANTS
from ucmmu.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "races.md"
FILE = "tests/races/variants.py"
SHOWN = re.compile(
    r"<!-- order of (\w+) in ([\w-]+), ([\w-]+) -->\n(?:```\n\$ (.*)\n((?:.*\n)*?)```\n)?"
)
ORDERS = [match.groups() for match in SHOWN.finditer(PAGE.read_text())]


@pytest.mark.parametrize(
    ("name", "scenario", "policy", "command", "shown"), ORDERS, ids=[order[0] for order in ORDERS]
)
def test_the_order_that_is_shown_fails_so(
    name: str,
    scenario: str,
    policy: str,
    command: str,
    shown: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    assert f"{FILE}:{name}" in words and words[-1] == scenario and policy in words
    assert main(words[1:]) == 1
    steps, error, _ = _stripped(capfd.readouterr().out).partition(_ASSERTION)
    wanted, told, _ = _stripped(shown).partition(_ASSERTION)
    assert (steps, error) == (wanted, told)


def test_the_readme_shows_what_a_wrong_policy_does(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    found = re.search(r"```\n\$ (ucmmu race .*)\n((?:.*\n)*?)```", (ROOT / "README.md").read_text())
    assert found is not None
    assert main(shlex.split(found[1])[1:]) == 1
    printed = [line.rstrip() for line in capfd.readouterr().out.splitlines() if line.strip()]
    shown = found[2].splitlines()
    begin = printed.index(shown[0])
    assert printed[begin : begin + len(shown)] == shown


_ASSERTION = "\n  AssertionError: "
"""What follows it pytest words in its own way."""


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def test_every_variant_has_an_order() -> None:
    assert {order[0] for order in ORDERS} == set(VARIANTS)


def _written(match: re.Match[str]) -> str:
    """The order, found anew."""
    from tests.races.test_variants import FOUND
    from ucmmu.race.campaign import Search, run
    from ucmmu.race.report import replay_command
    from ucmmu.race.setting import Setting

    name, scenario, policy = match[1], match[2], match[3]
    within = FOUND[name]
    setting = Setting(scenario, policy, within.model, f"{FILE}:{name}", points=within.points)
    result = run(setting, Search(within.preemptions, within.schedules))
    assert result.failure is not None, name
    command = replay_command(result)
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1, (command, done.returncode, done.stdout, done.stderr)
    head = f"<!-- order of {name} in {scenario}, {policy} -->"
    return f"{head}\n```\n$ {command}\n{_stripped(done.stdout)}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(SHOWN.sub(_written, PAGE.read_text()))
