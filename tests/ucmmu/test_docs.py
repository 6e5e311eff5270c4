# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what README, CONTRIBUTING and docs name exists, what they show runs, and every field of a
report is described.
"""

from __future__ import annotations

import doctest
import inspect
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from unicorn import Uc

from docs import tables
from native.cdef import unicorn_include
from tests.oracles.kvm.reference import Deviation
from tests.oracles.unicorn_walker import DEVIATIONS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
SUBJECTS = ("walk", "permissions", "tlb", "caches", "invalidation", "proof", "rules")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
EVERYTHING = "\n".join([README, CONTRIBUTING, *PAGES.values()])
TEXTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{name}" for name in PAGES)]


DEFINES = re.compile(r"\w[\w ]*[ *]$")
"""What stands before the name: `def `, `class `, or a type."""


@cache
def source():
    """What the code defines, and Unicorn's header and class: functions, classes, declarations."""
    files = [
        path for part in ("mmu", "cpu", "ucmmu", "native") for path in (ROOT / part).rglob("*")
    ]
    files += [Path(unicorn_include(), "unicorn", "unicorn.h"), Path(inspect.getfile(Uc))]
    names = re.compile(r"(?<=[ *])\w+\b(?=[(:])")
    return {
        found[0]
        for path in files
        if path.suffix in {".py", ".c", ".h", ".def"}
        for line in path.read_text().splitlines()
        for found in names.finditer(line)
        if DEFINES.search(line[: found.start()])
    }


def prose(text):
    """A page without its indented blocks, in which readers meet Python's own functions too."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(?:\w+\.)*(\w+)\(", prose(EVERYTHING)))))
def test_every_function_that_is_named_exists(name):
    assert name in source()


@pytest.mark.parametrize(
    "path",
    sorted(
        set(re.findall(r"`((?:\w+/)+\w+\.\w+)(?:::?[\w.:]+)?`", EVERYTHING))
        - {"arch/x86/kvm/mmu/paging_tmpl.h"}
    ),
)
def test_every_file_that_is_named_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:\.?\w+/)+|[\w./-]+\.(?:md|toml|txt))`", CONTRIBUTING)))
)
def test_every_folder_that_a_contributor_is_sent_to_exists(path):
    assert (ROOT / path).exists()


def too_long(text):
    """Lines of prose of more than 100 columns; tables and code may be wider."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [
        line
        for line in text.splitlines()
        if len(line) > 100 and not line.startswith(("    ", "|", "<!--"))
    ]


@pytest.mark.parametrize("page", TEXTS)
def test_prose_is_wrapped_at_100_columns(page):
    assert too_long((ROOT / page).read_text()) == []


def test_what_counts_as_prose():
    wide = "word " * 20 + "word"
    code = f"    {wide}\n```\n{wide}\n```\n| {wide} |\n"
    assert too_long(f"{code}- {wide}\n{wide}\n{wide[:100]}\n") == [f"- {wide}", wide]


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ["../README.md", "../CONTRIBUTING.md", *PAGES])
def test_every_link_leads_somewhere(page):
    here = ROOT / "docs" / page
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", here.read_text()):
        target = here.parent / file if file else here
        assert target.exists(), file
        if anchor:
            assert anchor in anchors(target.read_text()), f"{file}#{anchor}"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)", EVERYTHING))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


COMMANDS = {
    name: re.findall(r"^    (?:\.venv/bin/)?ucmmu (.+?)(?: +#.*)?$", text, re.MULTILINE)
    for name, text in {"README.md": README, "CONTRIBUTING.md": CONTRIBUTING, **PAGES}.items()
}
"""The command lines that each page shows, in its order."""


@pytest.mark.parametrize("page", [page for page, commands in COMMANDS.items() if commands])
def test_the_commands_run(page, tmp_path):
    """One after the other, in a directory of their own."""
    program = ROOT / "guest_programs" / "build" / "hello"
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    for command in COMMANDS[page]:
        words = shlex.split(command.replace("./program", str(program)))
        done = subprocess.run(
            [sys.executable, "-m", "ucmmu", *words],
            cwd=tmp_path,
            capture_output=True,
            env={"PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if ">>> " in text])
def test_what_a_page_shows_happens(page, tmp_path, monkeypatch):
    """The session of a page, from its beginning to its end, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    told = []
    test = doctest.DocTestParser().get_doctest(PAGES[page], {}, page, page, 0)
    assert test.examples
    doctest.DocTestRunner().run(test, out=told.append)
    assert not told, "".join(told)


def test_each_subject_has_its_page():
    assert {f"{name}.md" for name in SUBJECTS} <= PAGES.keys()
    for name in SUBJECTS:
        assert f"docs/{name}.md" in README


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_as_the_code_makes_them(page):
    """If this fails: ``python -m docs.tables --write``."""
    assert tables.renew(PAGES[page]) == PAGES[page]


def test_every_table_is_in_a_page():
    named = {
        name
        for text in PAGES.values()
        for name in re.findall(r"<!-- made by: \S+ -m docs\.tables (\w+) -->", text)
    }
    assert named == tables.TABLES.keys()
    assert all(one.name in PAGES["proof.md"] for one in [*DEVIATIONS, *Deviation])


def test_the_command_prints_tables(capsys):
    assert tables.main(["counters"]) == 0
    assert "| `page_walker_loads` | paging-structure entries read" in capsys.readouterr().out


def test_the_command_renews_pages(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- made by: python -m docs.tables counters -->\nold\n<!-- end -->\nafter\n"
    )
    monkeypatch.setattr(tables, "PAGES", tmp_path)
    assert tables.main(["--write"]) == 0
    text = page.read_text()
    assert (
        "old" not in text
        and "iTLB-loads" in text
        and text.startswith("before")
        and text.endswith("after\n")
    )


def test_the_plugin_of_the_readme_runs(capsys):
    from unicorn import UC_ARCH_X86, UC_MODE_64, Uc

    import cpu

    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (snippet,) = [snippet for snippet in snippets if "cpu.attach" in snippet]
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
    described = set(
        re.findall(r"`(\w+)`", ARCHITECTURE[ARCHITECTURE.index("## What a run reports") :])
    )
    undescribed = {key for key in json.loads(done.stdout) if key not in described}
    assert {key for key in undescribed if not key.startswith(("Vm", "Rss"))} == set()


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 245
