# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what README and docs name exists, what they show runs, and every field of a report is described."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


@cache
def source():
    """All text of the code."""
    files = [path for part in ("mmu", "cpu", "ucmmu", "native") for path in (ROOT / part).rglob("*")]
    return "\n".join(path.read_text() for path in files if path.suffix in {".py", ".c", ".h", ".def"})


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(?:\w+\.)?(\w+)\(", ARCHITECTURE))))
def test_every_function_the_architecture_names_exists(name):
    assert re.search(rf"\b(def |\w[\w ]*[ *]){name}\(", source()), name


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:\w+/)+\w+\.\w+)`", README + ARCHITECTURE))))
def test_every_file_that_is_named_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", README))))
def test_every_link_leads_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make (\w+)", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "command", re.findall(r"^    \.venv/bin/ucmmu (.+?)(?: +#.*)?$", README, re.MULTILINE)
)
def test_the_commands_of_the_readme_run(command, tmp_path):
    program = ROOT / "guest_programs" / "build" / "hello"
    words = command.replace("./program args…", str(program)).replace("./program", str(program)).split()
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", *words],
        cwd=tmp_path,
        capture_output=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


def test_the_plugin_of_the_readme_runs(capsys):
    from unicorn import UC_ARCH_X86, UC_MODE_64, Uc

    import cpu

    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert snippet.count("\n") == 3
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x400000, 0x2000)
    uc.mem_write(0x400000, bytes.fromhex("48a10010400000000000"))  # movabs rax, [0x401000]
    exec(snippet, {"cpu": cpu, "uc": uc, "begin": 0x400000, "until": 0x40000A})
    loads, walker_loads = map(int, capsys.readouterr().out.split())
    assert loads == 1
    assert walker_loads > 4


def test_every_field_of_a_report_is_described():
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "run", "--json", "-", "hello"],
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    described = set(re.findall(r"`(\w+)`", ARCHITECTURE[ARCHITECTURE.index("## What a run reports") :]))
    undescribed = {key for key in json.loads(done.stdout) if key not in described}
    assert {key for key in undescribed if not key.startswith(("Vm", "Rss"))} == set()


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 100
