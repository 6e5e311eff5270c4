# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a spec gives every workload with every combination, once; whatever is wrong in it is told
by file, line and key before anything runs.
"""

from __future__ import annotations

import os
import shlex

import pytest

from ucmmu.cli import _command_parsers
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.sweep.cells import make_cells
from ucmmu.sweep.plan import Planner
from ucmmu.sweep.spec import read_spec


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """Reads a spec's text; returns its cells as command lines."""
    monkeypatch.chdir(tmp_path)

    def read(text):
        (tmp_path / "s.toml").write_text(text)
        return make_cells(read_spec("s.toml"), _command_parsers())

    return read


@pytest.fixture
def refused(cells):
    """Reads a spec that is wrong; returns the line that says so."""

    def read(text):
        with pytest.raises(Failure) as caught:
            spec_cells = cells(text)
            Planner(read_spec("s.toml"), _command_parsers()).plan(spec_cells)
        assert caught.value.code in (ExitCode.USAGE, ExitCode.NO_PROGRAM, ExitCode.POLICY)
        assert "\n" not in caught.value.line
        return caught.value.line

    return read


def lines(cells):
    return [shlex.join(cell.words) for cell in cells]


def test_every_workload_with_every_combination(cells):
    found = cells(
        "[workloads]\na = 'hello'\nb = ['sparse', '1 G']\n"
        "[matrix]\nfree-tables = ['never', 'scan']\ncpus = [1, 2]\n[options]\ntimeout = 60\n"
    )
    assert len(found) == len(set(found)) == 8
    assert lines(found)[0] == "run --timeout=60 --free-tables=never --cpus=1 hello"
    assert lines(found)[-1] == "run --timeout=60 --free-tables=scan --cpus=2 sparse '1 G'"


def test_a_workload_alone_is_one_cell(cells):
    assert lines(cells("[workloads]\na = '--cpus 2 hello'\n")) == ["run --cpus 2 hello"]


def test_a_range_has_both_its_ends(cells):
    found = cells("[workloads]\na = 'hello'\n[matrix]\nseed = { from = 3, to = 9, step = 3 }\n")
    assert [dict(cell.settings)["seed"] for cell in found] == [3, 6, 9]


def test_flags_and_options_that_may_be_repeated(cells):
    found = cells(
        "[workloads]\na = 'hello'\n"
        "[matrix]\ncheck-tlb = [false, true]\nenv = [['A=1', 'B=2'], 'C=3']\n"
    )
    assert lines(found) == [
        "run --env=A=1 --env=B=2 hello",
        "run --env=C=3 hello",
        "run --check-tlb --env=A=1 --env=B=2 hello",
        "run --check-tlb --env=C=3 hello",
    ]


def test_included_cells_come_once_with_the_options_of_all(cells):
    found = cells(
        "[workloads]\na = 'hello'\nb = 'sparse'\n[matrix]\ncpus = [1, 2]\n"
        "[options]\nseed = 5\n[[include]]\nworkload = 'a'\ncpus = [2, 8]\n"
        "[[include]]\nworkload = ['b']\nseed = [6]\n"
    )
    assert lines(found) == [
        "run --seed=5 --cpus=1 hello",
        "run --seed=5 --cpus=2 hello",
        "run --seed=5 --cpus=1 sparse",
        "run --seed=5 --cpus=2 sparse",
        "run --seed=5 --cpus=8 hello",
        "run --seed=6 sparse",
    ]


def test_includes_alone_have_no_matrix(cells):
    found = cells("[workloads]\na = 'hello'\n[[include]]\ncpus = 4\n")
    assert lines(found) == ["run --cpus=4 hello"]


def test_a_cell_is_excluded_by_all_keys_together(cells):
    found = cells(
        "[workloads]\na = 'hello'\nb = 'sparse'\n[matrix]\ncpus = [1, 2, 4]\nseed = [0, 1]\n"
        "[[exclude]]\nworkload = 'b'\n[[exclude]]\ncpus = [2, 4]\nseed = '1'\n"
    )
    assert lines(found) == [
        f"run --cpus={cpus} --seed={seed} hello" for cpus, seed in ((1, 0), (1, 1), (2, 0), (4, 0))
    ]


W = "[workloads]\na = 'hello'\n"
WRONG = {
    "workload = 1\n": "s.toml:1: workload: there is no such key, but name, workloads, matrix,"
    " options, include, exclude, table; did you mean 'workloads'?",
    "a = [1\n": "s.toml: is not valid TOML: ",
    "": "s.toml:1: workloads: there is none: [workloads] needs a line such as small =",
    "name = '../x'\n" + W: "s.toml:1: name: '../x' is no name",
    W + "[matrix]\ncpu = [1]\n": "s.toml:4: matrix.cpu: is no option of `ucmmu run`;"
    " did you mean 'cpus'?",
    W + "[matrix]\nfree_tables = ['scan']\n": "s.toml:4: matrix.free_tables: is no option of"
    " `ucmmu run`; did you mean 'free-tables'?",
    W + "[matrix]\ncpus = [1, 99]\n": "s.toml:4: matrix.cpus: --cpus: 99 is not in 1 to 64",
    W + "[matrix]\ncpus = []\n": "s.toml:4: matrix.cpus: is an empty list",
    W + "[matrix]\ncpus = [2, 2]\n": "s.toml:4: matrix.cpus: 2 stands there twice",
    W + "[matrix]\ncpus = true\n": "s.toml:4: matrix.cpus: --cpus takes a value",
    W + "[matrix]\ncpus = [[1]]\n": "s.toml:4: matrix.cpus: is no list of strings",
    W + "[matrix]\ncpus = [['1']]\n": "s.toml:4: matrix.cpus: --cpus takes one value, not a list",
    W + "[matrix]\ncheck-tlb = 'yes'\n": "s.toml:4: matrix.check-tlb: --check-tlb is true or false",
    W + "[matrix]\nseed = {from = 2, to = 1}\n": "s.toml:4: matrix.seed: the range from 2 to 1",
    W + "[matrix]\nseed = {from = 2}\n": "s.toml:4: matrix.seed: is no range",
    W + "[matrix]\nseed = {from = 0, to = 1, by = 1}\n": "s.toml:4: matrix.seed.by: there is no",
    W + "[matrix]\nseed = {from = 0, to = 999999999}\n": "s.toml:4: matrix.seed: the range has",
    W + "[matrix]\nseed = {from = 0, to = 999}\nquantum = {from = 1, to = 999}\n": "s.toml:3:"
    " matrix: these are more than 100,000 cells",
    W + "[matrix]\nfidelity = ['exactly']\n": "s.toml:4: matrix.fidelity: --fidelity: 'exactly' is"
    " none of fast, exact, trace; did you mean 'exact'?",
    W + "[matrix]\ntlb = ['skylke']\n": "s.toml:4: matrix.tlb: --tlb skylke: ",
    W + "[matrix]\nfree-tables = ['./no.py:X']\n": "s.toml:4: matrix.free-tables: --free-tables"
    " ./no.py:"
    " no such file (as in the cell a free-tables=./no.py:X)",
    "[workloads]\na = { race = 'fault-zip' }\n": "s.toml:2: workloads.a: no scenario 'fault-zip';"
    " did you mean 'fault-zap'?",
    W + "[matrix]\ntimeout = [1, 2]\n": "s.toml:4: matrix.timeout: limits decide no result: put it"
    " under [options]",
    W + "[[include]]\nmemory-limit = ['1G', '2G']\n": "s.toml:4: include[0].memory-limit: limits",
    W + "[options]\njson = 'x'\n": "s.toml:4: options.json: cannot be swept: a sweep keeps",
    W + "[options]\nwritable = 'x'\n": "s.toml:4: options.writable: cannot be swept: cells run",
    W + "[options]\nno-count = true\ncpus = 2\n": "s.toml:5: options.cpus: --cpus: a CPU's turn",
    W + "[matrix]\nenv = ['A=1', 'NOT_SET']\n": "s.toml:4: matrix.env: --env: 'NOT_SET': is not",
    "[workloads]\na = '--tlb no hello'\n[matrix]\ntlb = ['tiny']\n": "s.toml:2: workloads.a: --tlb",
    W + "[options]\ncpus = [1, 2]\n": "s.toml:4: options.cpus: is a list: several values belong in"
    " [matrix]",
    W + "[options]\ntlb = ['a', 'b']\n": "s.toml:4: options.tlb: --tlb takes one value, not a list;"
    " several values belong in [matrix]",
    "[workloads]\na = '--help hello'\n": "s.toml:2: workloads.a: --help cannot be swept",
    "[workloads]\na = { race = '-h' }\n": "s.toml:2: workloads.a: --help cannot be swept",
    W + "[[exclude]]\nworkload = 'a'\n": "s.toml:3: exclude[0]: leaves out the last cell",
    "include = []\n" + W: "s.toml:1: include: is an empty list, and there is no [matrix]",
    W + "[table]\nfigures = ['x', 'x']\n": "s.toml:4: table.figures: 'x' stands there twice",
    'name = "a\\u0000b"\n' + W: "s.toml:1: name: 'a\\x00b' is no name",
    "x = " + "[" * 3000 + "]" * 3000 + "\n": "s.toml: its lists and tables lie too deep in each",
    W + "[[exclude]]\n": "s.toml:3: exclude[0]: names no key",
    W + "[[exclude]]\ncpus = 4\n": "s.toml:3: exclude[0]: leaves out no cell",
    W + "[[include]]\nworkload = 'b'\n": "s.toml:4: include[0].workload: there is no workload 'b'",
    W + "[table]\nfigure = []\n": "s.toml:4: table.figure: there is no such key, but figures;"
    " did you mean 'figures'?",
    W + "matrix = 3\n": "s.toml:3: workloads.matrix: 3 is no command line",
    "matrix = 3\n" + W: "s.toml:1: matrix: is no table: write [matrix] above its lines",
    "[workloads]\na = ''\n": "s.toml:2: workloads.a: is empty",
    "[workloads]\na = '\"'\n": "s.toml:2: workloads.a: is no command line: No closing quotation",
    "[workloads]\na = '--cpus 2'\n": "s.toml:2: workloads.a: names no program",
    "[workloads]\na = 'helo'\n": "s.toml:2: workloads.a: no program 'helo' here or in PATH",
    "[workloads]\na = '--json x hello'\n": "s.toml:2: workloads.a: --json cannot be swept",
    "[workloads]\na = '--cpsu 2 hello'\n": "s.toml:2: workloads.a: unknown option '--cpsu'; did",
    "[workloads]\na = { rum = 'hello' }\n": "s.toml:2: workloads.a.rum: there is no such key, but"
    " run, race; did you mean 'run'?",
    "[workloads]\na = { run = 3 }\n": "s.toml:2: workloads.a: 3 is no command line",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_by_line_and_key(refused, text):
    assert refused(text).startswith(WRONG[text])


def test_a_spec_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failure, match=r"^no\.toml: No such file or directory$"):
        read_spec("no.toml")
    with pytest.raises(Failure, match=r"^\.: Is a directory$"):
        read_spec(".")
    for name in ("/dev/zero", "pipe"):
        if name == "pipe":
            os.mkfifo(name)
        with pytest.raises(Failure, match=rf"^{name}: is no regular file$"):
            read_spec(name)
    with pytest.raises(Failure, match="null"):
        read_spec("a\0b")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'\n")
    with pytest.raises(Failure, match=r"^latin\.toml: is no UTF-8 text"):
        read_spec("latin.toml")
