# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs as people have them: against bare Unicorn where it can, qemu-x86_64 (user mode) and
native, and how much of the time is guest code.

Bare Unicorn is benchmarks/bare_linux.py: the same static program, not counted, plain memory, no
paging. Its system calls are Python functions, as a script's are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.bare_linux import BareLinux
from benchmarks.measure import Outcome, Result, Skipped, compare

UCMMU: Final = os.path.join(sysconfig.get_path("scripts"), "ucmmu")
QEMU: Final = "qemu-x86_64"
CALLS: Final = 1_000_000
STARTS: Final = 20
ROUNDS: Final = 3
HASHED_BYTES: Final = 8 << 20

GETPPID: Final = f"""
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {{ for (int i = 0; i < {CALLS}; i++) syscall(SYS_getppid); return 0; }}
"""
START: Final = f"""
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{{
    char *argv[] = {{ "true", 0 }}, *envp[] = {{ 0 }};
    for (int i = 0; i < {STARTS}; i++) {{
        int status;
        pid_t pid = vfork();
        if (!pid) {{ execve("/usr/bin/true", argv, envp); _exit(127); }}
        if (waitpid(pid, &status, 0) != pid || status) return 1;
    }}
    return 0;
}}
"""


def _build(source: str, folder: str) -> str:
    path = os.path.join(folder, "program")
    command = ["gcc", "-O2", "-static", "-o", path, "-x", "c", "-"]
    subprocess.run(command, input=source.encode(), check=True)
    return path


def _seconds(*command: str) -> float:
    """Of wall clock, from command to exit."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _ours(*program: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """The report of a run."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        command = [UCMMU, "run", *options, "--json", path, "--", *program]
        subprocess.run(command, check=True, capture_output=True)
        report: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return report


def _against(
    name: str,
    ours: Callable[[], float],
    goal: str,
    note: str,
    peers: dict[str, Callable[[], float] | None],
    unit: str = "s",
) -> Iterator[Outcome]:
    """One result for each peer, None being one that is not here; the goal is of the first."""
    for number, (peer_name, peer) in enumerate(peers.items()):
        label = f"{name}_{peer_name}"
        if peer is None:
            yield Skipped(label, f"{peer_name} is not installed")
            continue
        yield compare(
            label,
            ours,
            peer,
            unit=unit,
            goal=goal if number == 0 else ">= 0",
            note=note,
            rounds=ROUNDS,
            warm_up=False,
        )


def _bound(name: str, seconds: Callable[[], float], bound: float, note: str) -> Result:
    """Ours against a bound in seconds, which is the peer."""
    return compare(
        name,
        seconds,
        lambda: bound,
        unit="s",
        goal="<= 1",
        note=note,
        rounds=ROUNDS,
        warm_up=False,
    )


def _qemu(*program: str) -> Callable[[], float] | None:
    if shutil.which(QEMU) is None:
        return None
    return lambda: _seconds(QEMU, "-cpu", "Westmere", *program)


def program_sha256() -> Iterator[Outcome]:
    """A static busybox's sha256sum of 8 MiB: speeds, so a ratio of 1 is as fast as the peer."""
    busybox = shutil.which("busybox")
    if busybox is None:
        yield Skipped("program_sha256", "busybox is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data")
        Path(path).write_bytes(bytes(range(256)) * (HASHED_BYTES // 256))
        command = (busybox, "sha256sum", path)
        yield from _against(
            "program_sha256",
            lambda: 1 / _ours(*command, options=("--read", folder))["seconds"],
            ">= 0.8",
            "runs a second of `busybox sha256sum` of 8 MiB, ours counting, from the guest's start"
            " to its end; qemu and native with their own start",
            {
                "bare": lambda: 1 / BareLinux(*command).run(),
                "qemu": _inverse(_qemu(*command)),
                "native": lambda: 1 / _seconds(*command),
            },
            unit="1/s",
        )


def _inverse(figure: Callable[[], float] | None) -> Callable[[], float] | None:
    return None if figure is None else lambda: 1 / figure()


def program_syscalls() -> Iterator[Outcome]:
    """A million getppid()."""
    with tempfile.TemporaryDirectory() as folder:
        program = _build(GETPPID, folder)
        note = "a million getppid() in a static C program"
        yield _bound("program_syscalls", lambda: _ours(program)["seconds"], 3, note)
        yield from _against(
            "program_syscalls",
            lambda: float(_ours(program)["seconds"]),
            ">= 0",
            note,
            {
                "bare": lambda: BareLinux(program).run(),
                "qemu": _qemu(program),
                "native": lambda: _seconds(program),
            },
        )


def program_start() -> Iterator[Outcome]:
    """execve() of a dynamic program, up to its end."""
    with tempfile.TemporaryDirectory() as folder:
        program = _build(START, folder)
        note = "vfork(), execve() of /usr/bin/true, which is dynamic, and waitpid(): one of 20"
        yield _bound("program_start", lambda: _ours(program)["seconds"] / STARTS, 0.15, note)
        yield from _against(
            "program_start",
            lambda: float(_ours(program)["seconds"]) / STARTS,
            ">= 0",
            note,
            {"native": lambda: _seconds(program) / STARTS},
        )


def program_python() -> Iterator[Outcome]:
    """``python3 -c pass``, from command to exit."""
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        yield Skipped("program_python", f"{python} is not installed")
        return
    command = (python, "-c", "pass")
    note = "python3 -c pass from command to exit"
    ours = (UCMMU, "run", "--", *command)
    yield _bound("program_python", lambda: _seconds(*ours), 3, note)
    yield from _against(
        "program_python",
        lambda: _seconds(*ours),
        ">= 0",
        note,
        {"qemu": _qemu(*command), "native": lambda: _seconds(*command)},
    )
