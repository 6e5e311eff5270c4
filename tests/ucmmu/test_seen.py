# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a guest sees its program with what lies around it, the working directory, the system's
public files, and what was asked for, under the name given and where it leads; nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cpu.fs.view import Given, View
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import RunOptions
from ucmmu.seen import FRESH, SYSTEM, view_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def view(program: Path | None = None, home: str = "/nowhere", **options: object) -> View:
    asked = RunOptions(program=str(program or "x"), **options)
    return view_of(asked, program, "/upper", {"HOME": home, "PATH": "/usr/bin:/bin"})


def given(view: View) -> dict[str, Given]:
    return {one.path: one for one in view.given}


def executable(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_by_default(here: Path) -> None:
    seen = view(Path("/bin/sh"))
    system = [one for one in seen.given if one.path in SYSTEM]
    assert {one.path for one in seen.given} == {*(one.path for one in system), str(here)}
    assert all(one.public_only and not one.writable for one in system)
    assert given(seen)[str(here)] == Given(str(here), str(here))
    assert (seen.cwd, seen.fresh, seen.home, seen.upper) == (str(here), FRESH, "/nowhere", "/upper")
    for path, text in seen.links:
        assert os.readlink(path) == text and path not in given(seen)


def test_the_whole_host_is_never_given_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    seen = view(Path("/program"))
    assert "/" not in given(seen) and seen.cwd == "/"
    monkeypatch.chdir("/proc")
    assert "/proc" not in given(view(Path("/bin/sh")))


def test_private_files_of_the_system_stay_private_from_within(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir("/etc")
    seen = view(Path("/bin/sh"))
    assert given(seen)["/etc"].public_only and seen.cwd == "/etc"


def test_a_path_is_seen_under_its_name_and_where_it_leads(here: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    seen = given(view(read=("../link", str(tmp_path / "data"))))
    for name in ("link", "data"):
        assert seen[str(tmp_path / name)].host == str(tmp_path / "data")
    assert given(view(read=("/bin/sh",))).keys() & {"/bin/sh", os.path.realpath("/bin/sh")}


def test_what_is_asked_for_comes_before_what_is_given_anyway(here: Path, tmp_path: Path) -> None:
    seen = given(view(writable=(str(tmp_path),)))
    assert seen[str(tmp_path)].writable and str(here) not in seen
    assert not given(view(read=("/etc",)))["/etc"].public_only
    seen = given(view(read=(str(here),), writable=(str(tmp_path),)))
    assert not seen[str(here)].writable


def test_what_lies_in_a_writable_directory_is_seen_under_each_of_its_names(
    here: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("here")
    inner = here / "inner"
    inner.mkdir()
    seen = given(view(read=(str(inner),), writable=(str(tmp_path / "link"),)))
    for name in (inner, tmp_path / "link" / "inner"):
        assert seen[str(name)] == Given(str(name), str(inner))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"read": ("nosuch",)}, "--read: 'nosuch': No such file or directory"),
        ({"read": ("",)}, "--read: '': names no file"),
        ({"read": ("/dev/null",)}, "is neither a regular file nor a directory"),
        ({"read": ("/proc/self/maps",)}, "the machine has a /proc"),
        ({"read": ("/sys",)}, "the machine has a /proc"),
        ({"read": ("a\0b",)}, "null"),
        ({"read": ("\x1b[31m",)}, r"'\\x1b\[31m'"),
        ({"writable": ("/",)}, "the host's whole tree"),
        ({"writable": ("file",)}, "is no directory"),
        ({"writable": ("/dev",)}, "the machine has a /proc"),
        ({"root": "file"}, "--root: 'file': is no directory"),
        ({"root": "nosuch"}, "--root: 'nosuch': No such file"),
    ],
)
def test_what_cannot_be_given_is_one_line(here: Path, options: dict[str, object], why: str) -> None:
    (here / "file").touch()
    with pytest.raises(Failure, match=why) as failure:
        view(**options)
    assert failure.value.code == ExitCode.USAGE
    assert "\n" not in failure.value.line and "\x1b" not in failure.value.line


def test_root_is_all_there_is(here: Path, tmp_path: Path) -> None:
    seen = view(None, root=str(tmp_path), read=("/etc/passwd",))
    assert given(seen).keys() == {"/", "/etc/passwd"}
    assert given(seen)["/"].host == str(tmp_path)
    assert (seen.cwd, seen.links) == ("/", ())


def test_a_program_brings_its_prefix(here: Path, tmp_path: Path) -> None:
    """A venv's python: each step of its links, and what lies beside their bin."""
    real = executable(tmp_path / "versions" / "3" / "bin" / "python3.1")
    (real.parent / "python3").symlink_to("python3.1")
    venv = tmp_path / "venv" / "bin" / "python"
    venv.parent.mkdir(parents=True)
    venv.symlink_to(real.parent / "python3")
    seen = given(view(venv))
    for folder in (real.parent, venv.parent):
        assert not seen[str(folder)].public_only
        assert seen[str(folder.parent)].public_only
    assert str(tmp_path) not in seen


def test_a_script_brings_its_interpreter(here: Path, tmp_path: Path) -> None:
    """As pyenv's shims are: a script in one directory, started by one in another."""
    inner = executable(tmp_path / "inner" / "bin" / "run", "\x7fELF")
    outer = executable(tmp_path / "outer" / "libexec" / "start", f"#! {inner} -x\n")
    script = executable(tmp_path / "py" / "shims" / "python", f"#!{outer}\n")
    seen = given(view(script))
    for program in (script, outer, inner):
        assert str(program.parent) in seen
    assert {str(tmp_path / "inner"), str(tmp_path / "outer")} <= seen.keys()


def test_env_starts_what_is_in_path(here: Path, tmp_path: Path) -> None:
    tool = executable(tmp_path / "tools" / "tool")
    script = executable(tmp_path / "scripts" / "script", "#!/usr/bin/env -S A=b tool -x\n")
    asked = RunOptions(program=str(script))
    path = f"/usr/bin:{tool.parent}"
    seen = view_of(asked, script, None, {"HOME": "/nowhere", "PATH": path})
    assert str(tool.parent) in given(seen)


@pytest.mark.parametrize("line", ["#!", "#! \n", "#!/usr/bin/env\n", "#!/usr/bin/env nosuch\n"])
def test_a_first_line_that_names_nothing_brings_nothing(
    here: Path, tmp_path: Path, line: str
) -> None:
    script = executable(tmp_path / "scripts" / "script", line)
    assert str(script.parent) in given(view(script))


def test_a_script_that_names_itself_ends(here: Path, tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "script"
    executable(script, f"#!{script}\n")
    link = tmp_path / "loop"
    link.symlink_to(link)
    assert str(script.parent) in given(view(script))
    assert str(tmp_path) in given(view(link))


def test_a_home_is_not_given_for_the_bin_in_it(here: Path, tmp_path: Path) -> None:
    home = tmp_path / "home" / "user"
    program = executable(home / "bin" / "program")
    for folder in (home, home.parent):
        other = executable(folder / "bin" / "program")
        seen = given(view(other, home=str(home)))
        assert str(other.parent) in seen
        assert str(folder) not in seen
    assert str(program.parent) in given(view(program, home=str(home)))


def test_a_prefix_above_home_is_not_given(here: Path, tmp_path: Path) -> None:
    program = executable(Path(tmp_path, "bin", "program"))
    assert str(tmp_path) not in given(view(program, home=str(tmp_path / "home" / "user")))
