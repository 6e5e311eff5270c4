# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: shells and the programs that scripts call do here what they do natively: pipes, loops,
here-documents, functions, traps, jobs; coreutils, findutils, grep, sed, awk, tar, compressors.
"""

from __future__ import annotations

import pytest

from tests.programs.harness import Scratch, require, source


@pytest.mark.parametrize("shell", [("busybox", "sh"), ("dash",), ("bash",)], ids=" ".join)
def test_posix_script(shell: tuple[str, ...], scratch: Scratch) -> None:
    require(shell[0])
    scratch.files["posix.sh"] = source("posix.sh")
    scratch.same(*shell, "posix.sh", code=5, writable=shell == ("dash",))


def test_bash_script(scratch: Scratch) -> None:
    require("bash")
    scratch.files["bash.sh"] = source("bash.sh")
    scratch.same("./bash.sh")


@pytest.mark.stress
def test_coreutils(scratch: Scratch) -> None:
    scratch.files["coreutils.sh"] = source("coreutils.sh")
    scratch.same("bash", "coreutils.sh", without=("old",))


@pytest.mark.stress
def test_tools(scratch: Scratch) -> None:
    require("mawk", "gawk", "busybox", "xz", "zstd", "bzip2", "jq")
    scratch.files["tools.sh"] = source("tools.sh")
    scratch.same("bash", "tools.sh")


def test_input_comes_through(scratch: Scratch) -> None:
    """Standard input of the command is that of the guest."""
    scratch.same("sort", "-n", stdin=b"10\n9\n-1\n" * 1000)
