# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: bash and zsh, with the script that ``ucmmu completion`` writes, complete commands, options,
programs, geometries, policies, filters and files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode
from ucmmu.options import POLICIES

pytest.importorskip("shtab")

CASES = {
    "ucmmu com": {"compare", "completion"},
    "ucmmu run --free-tables ": set(POLICIES),
    "ucmmu run --tlb sky": {"skylake"},
    "ucmmu run dontneed_": {"dontneed_loop"},
    "ucmmu run --trace-filter fun": {"function="},
    "ucmmu trace --format par": {"parquet"},
    "ucmmu race lazy-zap-p": {"lazy-zap-page"},
    "ucmmu completion ": {"bash", "zsh"},
}
_BASH = """\
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
function=$(complete -p ucmmu | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
$function ucmmu "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
_ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1='READY>'; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D"
zpty -w z "LISTMAX=0; bindkey '^I' list-choices; echo SET'UP'"
zpty -r -m z out '*SETUP*READY>*' || exit 1
shift
for case in "$@"; do
  zpty -w -n z "${case%%|*}"$'\t'
  for word in ${=case#*|}; do
    zpty -r -m z out "*$word*" || exit 1
  done
  print -r -- "completed ${case%%|*}"
  zpty -w -n z $'\x15'
done
zpty -d z
"""


def script(shell: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "completion", shell],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_completes(tmp_path: Path) -> None:
    file = tmp_path / "ucmmu.bash"
    file.write_text(script("bash"))
    (tmp_path / "hello.trace").touch()
    cases = {**CASES, f"ucmmu trace {tmp_path}/hel": {f"{tmp_path}/hello.trace"}}
    for line, right in cases.items():
        words = line.split(" ")
        done = subprocess.run(
            ["bash", "--norc", "-c", _BASH, "bash", str(file), *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert right <= set(done.stdout.split()), line
        assert "run" not in done.stdout.split(), line


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_completes(tmp_path: Path) -> None:
    (tmp_path / "_ucmmu").write_text(script("zsh"))
    (tmp_path / "empty").mkdir()
    cases = [f"{line}|{' '.join(sorted(words))}" for line, words in CASES.items()]
    done = subprocess.run(
        ["zsh", "-f", "-c", _ZSH, "zsh", str(tmp_path), *cases],
        cwd=tmp_path / "empty",  # what is listed between the right words is not ours
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [f"completed {line}" for line in CASES]


def test_another_shell_is_refused_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == ExitCode.USAGE
    assert capfd.readouterr().err.startswith("ucmmu: argument SHELL: 'fish' is none of bash, zsh")


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == ExitCode.NO_EXTRA
    line = "ucmmu: ucmmu completion needs shtab: pip install 'ucmmu[completion]'\n"
    assert capfd.readouterr().err == line
