# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the test suite of Debian's Python has the same verdict on each of its tests natively and
here: files, processes, signals, threads, sockets, memory maps (``libpython3.11-testsuite``).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.programs.harness import Scratch, require

PYTHON = "/usr/bin/python3"
MODULES = [
    "test_eintr",
    "test_epoll",
    "test_fcntl",
    "test_fileio",
    "test_fork1",
    "test_glob",
    "test_mmap",
    "test_os",
    "test_pipes",
    "test_poll",
    "test_popen",
    "test_posix",
    "test_pty",
    "test_resource",
    "test_select",
    "test_selectors",
    "test_shutil",
    "test_signal",
    "test_socket",
    "test_subprocess",
    "test_tempfile",
    "test_thread",
    "test_threadsignals",
    "test_time",
    "test_wait3",
    "test_wait4",
]
MISSING = "UDPLITE|VSOCK|RFC3542"
"""What is not there, in names of classes: UDP-Lite, AF_VSOCK, ancillary data of IPv6 (RFC 3542)."""
RUN = """
import re, unittest, test.{module} as module
for name in [name for name in dir(module) if re.search({missing!r}, name)]:
    delattr(module, name)
unittest.main(module, argv=["unittest", "-v"])
"""
_VERDICT = re.compile(r"^(.*) \.\.\. (ok|FAIL|ERROR|skipped|expected failure)", re.MULTILINE)


def _verdicts(text: str) -> dict[str, str]:
    """The verdict on each test by its name; what a test prints may stand between."""
    return dict(_VERDICT.findall(text))


@pytest.mark.stress
@pytest.mark.parametrize("module", MODULES)
def test_python(module: str, scratch: Scratch) -> None:
    require(PYTHON)
    if not list(Path("/usr/lib").glob(f"python3*/test/{module}.py")):
        pytest.skip(f"no test.{module}: apt-get install libpython3.11-testsuite")
    program = shlex.quote(RUN.format(module=module, missing=MISSING))
    command = ["sh", "-c", f"{PYTHON} -c {program} 2>&1 >/dev/null"]
    natively = _verdicts(scratch.natively(*command, timeout=600).text)
    here = scratch.here(*command, timeout=1800)
    assert natively
    assert _verdicts(here.text) == natively, here.stderr.decode(errors="replace")
