# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: operators make just the mutants they say; a survivor is reported; what cannot be built is
not called killed; the list of equivalent mutants fits the sources.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.mutants import __main__ as command
from tests.mutants import report
from tests.mutants.operators import OPERATORS
from tests.mutants.reach import Reach, function_digests, marked
from tests.mutants.reach import TestFile as Reached
from tests.mutants.run import Task, Verdict, attempt
from tests.mutants.syntax import Source, Unknown, choose, find, parse
from tests.mutants.tree import ROOT, Tree

C = b"""
#define LIMIT (1 << 4)
/* cffi-begin */
#define SHARED 7
/* cffi-end */
int f(int a, int b)
{
	if (a < LIMIT_LOW && !b)
		return LIMIT_HIGH;
	for (int i = 0; i < a; i++)
		g(a | b);
	return a;
}
"""

PYTHON = b'''
LOW_BIT: int = 1
LOW_MASK: int = 2


class A:
    def f(self, a: int = 0) -> int:
        """Docstring."""
        x: int
        if a is None or not self.ready:
            raise ValueError("at most 3")
        for i in range(a):
            a |= ~LOW_BIT & LOW_MASK
        while a > 5:
            continue
        return a
'''


def diffs(source: Source, operator: str) -> list[str]:
    return [mutant.diff for mutant in source.mutants if mutant.operator == operator]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("drop-statement", ["[-return LIMIT_HIGH;-]{+;+}", "[-g(a | b);-]{+;+}"]),
        (
            "negate-condition",
            ["if ([-a < LIMIT_LOW && !b-]{+!(a < LIMIT_LOW && !b)+})"],
        ),
        ("skip-loop", ["for (int i = 0; [-i < a-]{+0+}; i++)"]),
        (
            "drop-operand",
            [
                "if ([-a < LIMIT_LOW && !b-]{+!b+})",
                "if ([-a < LIMIT_LOW && !b-]{+a < LIMIT_LOW+})",
                "g([-a | b-]{+b+});",
                "g([-a | b-]{+a+});",
            ],
        ),
        ("drop-not", ["if (a < LIMIT_LOW && [-!b-]{+b+})"]),
        (
            "swap-constant",
            [
                "#define LIMIT ([-1-]{+0+} << 4)",
                "#define LIMIT (1 << [-4-]{+5+})",
                "if (a < [-LIMIT_LOW-]{+LIMIT_HIGH+} && !b)",
                "return [-LIMIT_HIGH-]{+LIMIT_LOW+};",
                "for (int i = [-0-]{+1+}; i < a; i++)",
            ],
        ),
        (
            "swap-operator",
            [
                "#define LIMIT (1 [-<<-]{+>>+} 4)",
                "if (a [-<-]{+<=+} LIMIT_LOW && !b)",
                "for (int i = 0; i [-<-]{+<=+} a; i++)",
                "for (int i = 0; i < a; i[-++-]{+--+})",
            ],
        ),
    ],
)
def test_mutants_of_c(operator: str, expected: list[str]) -> None:
    assert diffs(parse("a.c", C), operator) == expected


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (
            "drop-statement",
            [
                '[-raise ValueError("at most 3")-]{+pass+}',
                "[-a |= ~LOW_BIT & LOW_MASK-]{+pass+}",
                "[-continue-]{+pass+}",
                "[-return a-]{+pass+}",
            ],
        ),
        (
            "negate-condition",
            ["if [-a is None or not self.ready-]{+not (a is None or not self.ready)+}:"],
        ),
        ("skip-loop", ["for i in [-range(a)-]{+()+}:", "while [-a > 5-]{+False+}:"]),
        (
            "drop-operand",
            [
                "if [-a is None or not self.ready-]{+not self.ready+}:",
                "if [-a is None or not self.ready-]{+a is None+}:",
                "a |= [-~LOW_BIT & LOW_MASK-]{+LOW_MASK+}",
                "a |= [-~LOW_BIT & LOW_MASK-]{+~LOW_BIT+}",
            ],
        ),
        (
            "drop-not",
            [
                "if a is None or [-not self.ready-]{+self.ready+}:",
                "a |= [-~LOW_BIT-]{+LOW_BIT+} & LOW_MASK",
            ],
        ),
        (
            "swap-constant",
            [
                "LOW_BIT: int = [-1-]{+0+}",
                "LOW_MASK: int = [-2-]{+3+}",
                "def f(self, a: int = [-0-]{+1+}) -> int:",
                "a |= ~[-LOW_BIT-]{+LOW_MASK+} & LOW_MASK",
                "a |= ~LOW_BIT & [-LOW_MASK-]{+LOW_BIT+}",
                "while a > [-5-]{+6+}:",
            ],
        ),
        (
            "swap-operator",
            [
                "if a [-is-]{+is not+} None or not self.ready:",
                "a [-|=-]{+=+} ~LOW_BIT & LOW_MASK",
                "while a [->-]{+>=+} 5:",
            ],
        ),
    ],
)
def test_mutants_of_python(operator: str, expected: list[str]) -> None:
    source = parse("a.py", PYTHON)
    assert diffs(source, operator) == expected
    for mutant in source.mutants:
        compile(mutant.applied_to(PYTHON), "a.py", "exec")


def test_every_operator_is_tested_above() -> None:
    made = {
        mutant.operator for mutant in (*parse("a.c", C).mutants, *parse("a.py", PYTHON).mutants)
    }
    assert made == set(OPERATORS)


def test_the_name_of_a_mutant() -> None:
    names = [mutant.id for mutant in parse("a.c", C).mutants]
    assert len(set(names)) == len(names)
    assert "a.c:f:drop-operand:3" in names and "a.c:LIMIT:swap-constant:1" in names
    names = [mutant.id for mutant in parse("a.py", PYTHON).mutants]
    assert "a.py:A.f:drop-not:1" in names and "a.py:LOW_BIT:swap-constant:0" in names


def test_lines_of_c_stay_where_they_are() -> None:
    text = b"void f(void)\n{\n\tg(1,\n\t  2);\n\th();\n}\n"
    [mutant, *_] = parse("a.c", text).mutants
    assert mutant.applied_to(text) == b"void f(void)\n{\n\t;\n\n\th();\n}\n"


def test_blocks_mark_themselves() -> None:
    source = parse("a.py", b"def f(a):\n    '''Doc.'''\n    if a: return 1\n    return 2\n")
    done = bytearray(2)
    space = {"mutants_reach": done}
    exec(marked(source, 0), space)
    function = space["f"]
    assert callable(function) and function.__doc__ == "Doc."
    assert function(0) == 2 and done == b"\1\0"
    assert function(1) == 1 and done == b"\1\1"
    text = marked(parse("a.c", b"int f(int a)\n{\n\tif (a) {\n\t\tg();\n\t}\n}\n"), 4)
    assert text.count(b"mutants_reach[") == 2 and b"{ mutants_reach[5] = 1;\n\t\tg();" in text


def test_a_change_shows_in_the_digest_of_its_function_only() -> None:
    text = b"int f(void)\n{\n\treturn 1;\n}\n\nint g(void)\n{\n\treturn 2;\n}\n"
    old, new = (function_digests(parse("a.c", t)) for t in (text, text.replace(b"2", b"3")))
    assert {name for name in old if old[name] != new[name]} == {"a.c:g"}


def test_who_is_tried_first() -> None:
    of_f = ("t::test_agree", "t::test_slow[1]", "t::test_slow[2]", "t::test_quick")
    blocks = {**{name: [0] for name in of_f}, "t::other": [1]}
    seconds = {name: 1.0 if "slow" in name else 0.0 for name in blocks}
    reach = Reach({"t": Reached("", {}, seconds, ["a.c:f#0", "a.c:g#0"], blocks, [], [])})
    source = parse("a.c", C + b"int g(void)\n{\n\treturn LIMIT;\n}\n")
    sources = {"a.c": source}
    inside = next(mutant for mutant in source.mutants if mutant.block == 0)
    order = ["t::test_quick", "t::test_slow[1]", "t::test_slow[2]", "t::test_agree"]
    assert reach.tests_of(inside, sources) == order
    macro = next(mutant for mutant in source.mutants if mutant.function == "LIMIT")
    assert reach.tests_of(macro, sources) == ["t::other"]
    other = next(mutant for mutant in parse("a.c", C).mutants if mutant.function == "LIMIT")
    assert set(reach.tests_of(other, {"a.c": parse("a.c", C)})) == set(blocks)


def test_a_sample_takes_of_every_file() -> None:
    sources = {name: parse(name, C) for name in ("a.c", "b.c")}
    sources["c.py"] = parse("c.py", PYTHON)
    taken = choose(sources, sample=6, seed=1)
    assert [mutant.file for mutant in taken] == ["a.c", "b.c", "c.py"] * 2
    assert taken == choose(sources, sample=6, seed=1) != choose(sources, sample=6, seed=2)
    assert len(choose(sources, sample=1000)) == len(choose(sources))


def test_what_is_chosen() -> None:
    sources = {"a.c": parse("a.c", C)}
    assert {m.operator for m in choose(sources, operators=["drop-not"])} == {"drop-not"}
    assert [m.id for m in choose(sources, ["a.c:f:skip-loop:0"])] == ["a.c:f:skip-loop:0"]
    assert len(choose(sources, ["a.c:*:swap-operator:*"])) == 4
    with pytest.raises(Unknown, match="nothing/"):
        find(ROOT, ["nothing/*.c"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A small project with a test that tests half of it."""
    folder = tmp_path_factory.mktemp("mutants")
    root = folder / "project"
    root.mkdir()
    (root / "native").mkdir()
    (root / "tests").mkdir()
    (root / "native" / "half.c").write_text(
        "int half(int a)\n{\n\tint b = a * 1u;\n\n"
        "\tif (a < 0)\n\t\treturn -1;\n\treturn b / 2;\n}\n"
    )
    (root / "native" / "build_half.py").write_text(
        "import cffi\nffi = cffi.FFI()\nffi.cdef('int half(int a);')\n"
        "ffi.set_source('half', 'int half(int a);', sources=['native/half.c'],\n"
        "               extra_compile_args=['-O2'])\n"
    )
    (root / "twice.py").write_text("def twice(a):\n    b = a\n    return a * 2\n")
    (root / "tests" / "test_half.py").write_text(
        "from half import lib\nfrom twice import twice\n\n"
        "def test_half():\n    assert lib.half(4) == 2\n\n"
        "def test_twice():\n    assert twice(0) == 0\n"
    )
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    tree = Tree(folder / "copy", root)
    tree.build()
    return tree


TESTS = ["tests/test_half.py::test_half", "tests/test_half.py::test_twice"]


def verdict_of(project: Tree, file: str, diff: str, tests: list[str] = TESTS) -> Verdict:
    source = parse(file, (project.path / file).read_bytes())
    [mutant] = [mutant for mutant in source.mutants if mutant.diff == diff]
    verdict = attempt(project, Task(mutant, tests, dict.fromkeys(tests, 0.1), 60))
    assert (project.path / file).read_bytes() == source.text
    return verdict


def test_a_mutant_is_killed(project: Tree) -> None:
    verdict = verdict_of(project, "native/half.c", "return b [-/-]{+*+} 2;")
    assert (verdict.how, verdict.killed_by, verdict.tests) == ("failed", TESTS[0], 1)
    verdict = verdict_of(project, "twice.py", "[-return a * 2-]{+pass+}")
    assert (verdict.how, verdict.killed_by, verdict.tests) == ("failed", TESTS[1], 2)


def test_a_survivor_is_reported(project: Tree) -> None:
    verdict = verdict_of(project, "native/half.c", "if (a < [-0-]{+1+})")
    assert verdict.survived and verdict.tests == 2 and verdict.whole
    counted = report.counts([verdict], {verdict.id: "native"}, {})
    text = report.markdown(counted, [verdict])
    assert "| native | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0 |" in text
    assert f"- `{verdict.id}`, line 5: survived 2 tests\n  `if (a < [-0-]{{+1+}})`" in text
    assert report.as_json(counted, [verdict], {})["mutants"][0]["verdict"] == "survived"


def test_an_equivalent_mutant_is_known(project: Tree) -> None:
    verdict = verdict_of(project, "native/half.c", "int b = a [-*-]{+/+} 1u;")
    assert verdict.how == "same code" and report.column(verdict, {}) == "equivalent"
    verdict = verdict_of(project, "native/half.c", "if (a < [-0-]{+1+})")
    assert report.column(verdict, {verdict.id: "a reason"}) == "equivalent"


def test_what_does_not_compile_is_not_killed(project: Tree) -> None:
    text = (project.path / "native" / "half.c").read_bytes()
    mutant = parse("native/half.c", text).mutants[0]
    broken = type(mutant)(
        *("native/half.c", "half", "by-hand", 0, 1, "", type(mutant.edit)(0, 3, "@"), 0)
    )
    verdict = attempt(project, Task(broken, TESTS, {}, 60))
    assert verdict.how == "not compiled" and not verdict.killed and "half.c" in verdict.detail
    assert report.column(verdict, {}) == "not compiled"
    unknown = type(broken)(
        *("twice.py", "twice", "by-hand", 0, 1, "", type(mutant.edit)(0, 0, "missing\n"), 0)
    )
    verdict = attempt(project, Task(unknown, TESTS, {}, 60))
    assert verdict.how == "not imported" and report.column(verdict, {}) == "not compiled"


def test_a_crash_is_a_kill_once_tests_run(project: Tree) -> None:
    conftest = project.path / "conftest.py"
    crash = ("twice.py", "twice", "by-hand", 0, 1, "")
    mutant = parse("twice.py", (project.path / "twice.py").read_bytes()).mutants[0]
    text = b"def twice(a):\n    import os\n    os.abort()\n"
    dead = type(mutant)(*crash, type(mutant.edit)(0, 1 << 10, text.decode()), 0)
    verdict = attempt(project, Task(dead, TESTS[1:], {}, 60))
    assert (verdict.how, verdict.killed_by) == ("crashed", TESTS[1])
    conftest.write_text("import twice\ntwice.twice(1)\n")
    verdict = attempt(project, Task(dead, TESTS[1:], {}, 60))
    conftest.unlink()
    assert (verdict.how, verdict.tests) == ("not imported", 0)


def test_a_mutant_that_no_test_runs(project: Tree) -> None:
    verdict = verdict_of(project, "native/half.c", "return [--1-]{+0+};", [])
    assert verdict.how == "not reached" and report.column(verdict, {}) == "survived"


@cache
def everything() -> dict[str, Source]:
    """All sources and their mutants: they take seconds to find."""
    return find(ROOT)


def test_the_list_of_equivalent_mutants_fits_the_sources() -> None:
    report.excused(report.read(), choose(everything()))


def test_an_entry_without_a_mutant_is_an_error(tmp_path: Path) -> None:
    listed = tmp_path / "equivalent.toml"
    listed.write_text('[[equivalent]]\nid = "a.c:f:skip-loop:*"\ndiff = "i < a"\nreason = "none"\n')
    mutants = parse("a.c", C).mutants
    assert report.excused(report.read(listed), mutants) == {"a.c:f:skip-loop:0": "none"}
    listed.write_text(listed.read_text().replace("i < a", "i > a"))
    with pytest.raises(report.OutOfDate, match="i > a"):
        report.excused(report.read(listed), mutants)
    listed.write_text('[[equivalent]]\nid = "a.c:f:skip-loop:*"\ndiff = "i < a"\n')
    with pytest.raises(report.OutOfDate, match="reason"):
        report.read(listed)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.mutants", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_command_line() -> None:
    listed = run("--list", "--sample", "5", "--seed", "3", "mmu/x86/")
    assert listed.returncode == 0
    assert [line.split(":")[0].startswith("mmu/x86/") for line in listed.stdout.splitlines()] == [
        True
    ] * 5


@pytest.mark.parametrize(
    "wrong", [["nothing like it"], ["--operators", "drop"], ["--tests", "nowhere"]], ids=str
)
def test_wrong_arguments(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find", lambda *_: everything())
    try:
        status: object = command.main(wrong)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert capsys.readouterr().err


def test_it_works_on_this_project(tmp_path: Path) -> None:
    found = tmp_path / "mutants.json"
    arguments = ["--tests", "tests/x86/test_canonical.py", "--json", str(found), "--workers", "1"]
    arguments += ["--operators", "swap-operator", "--seed", "1", "--kept", str(tmp_path)]
    arguments += ["--sample", "2", "mmu/*:is_canonical:*"]
    done = run(*arguments)
    verdicts = [row["verdict"] for row in json.loads(found.read_text())["mutants"]]
    assert verdicts == ["killed"] * 2, done.stdout + done.stderr
    assert done.returncode == 0 and "| all |" in done.stdout
    again = run(*arguments, "--resume")
    assert again.returncode == 0 and "[1/" not in again.stderr
