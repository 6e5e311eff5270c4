# SPDX-License-Identifier: GPL-2.0-or-later
"""Instances for the tests of attach(), and programs that run in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, cast

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc, x86_const

from cpu.attached import Attached
from tests.cpu.assemble import assemble

ROOT: Final = Path(__file__).resolve().parents[2]
CODE: Final = 0x1000000
DATA: Final = 0x1100000
STACK: Final = DATA + 0xF0000
SIZE: Final = 2 << 20
"""Of the memory at CODE."""
HOLE: Final = 0x5000000
"""Where no memory is."""
VIRTUAL: Final = 0x7FFF00000000
FIDELITIES: Final = ("fast", "exact", "trace")
DOORS: Final = ("uc", "m")
"""By whose methods a script runs: the instance's, or those of what attach() returned."""

Start = Callable[..., None]


def new_instance(kind: type[Uc] = Uc) -> Uc:
    """An instance with 2 MiB of memory."""
    uc = kind(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, SIZE)
    uc.reg_write(x86_const.UC_X86_REG_RSP, STACK)
    return uc


def load(uc: Uc, source: str, at: int = CODE) -> tuple[int, int]:
    """Put the program there; where it begins and ends."""
    code = assemble(source)
    uc.mem_write(at, code)
    return at, at + len(code)


def reg(name: str) -> int:
    """The UC_X86_REG_* number of a register."""
    return int(getattr(x86_const, f"UC_X86_REG_{name.upper()}"))


def get(uc: Uc, name: str) -> int:
    """A register's value."""
    return int(uc.reg_read(reg(name)))


def put(uc: Uc, **values: int) -> None:
    """Set registers."""
    for name, value in values.items():
        uc.reg_write(reg(name), value)


def through(door: str, uc: Uc, m: Attached) -> Start:
    """The emu_start() of this door."""
    return cast(Start, uc.emu_start if door == "uc" else m.emu_start)


def state(uc: Uc) -> dict[str, Any]:
    """What attach() must leave as it is, or detach() give back."""
    names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "eflags")
    names += ("cr0", "cr2", "cr3", "cr4", "cs", "ss", "ds", "es", "fs", "gs")
    return {
        **{name: get(uc, name) for name in names},
        "efer": uc.msr_read(0xC0000080),
        "regions": sorted(uc.mem_regions()),
        "class": type(uc),
        "attributes": sorted(vars(uc)),
        "hooks": sorted(uc._callbacks),
    }


def in_child(source: str, *, private: bool = True, timeout: float = 60) -> str:
    """Run Python in a process of its own; what it printed. It must end well."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "program.py")
        program.write_text(source)
        done = subprocess.run(
            [sys.executable, program],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},
                "PYTHONPATH": str(ROOT),
                "UCMMU_PRIVATE": "1" if private else "0",
            },
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    assert done.returncode == 0, (
        f"exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    )
    return done.stdout


def catch(call: Callable[[], object]) -> BaseException | None:
    """What the call raises."""
    try:
        call()
    except BaseException as error:
        return error
    return None


def one_line(error: BaseException | None) -> str:
    """An error's text, which must be one line."""
    text = str(error)
    assert error is not None and text and "\n" not in text
    return text


def both(run: Callable[[Uc, Any], Any], ways: Iterable[dict[str, Any]]) -> None:
    """The same script on plain Unicorn and attached in each of these ways: same results.

    ``run(uc, m)`` gets None for m in plain.
    """
    import cpu

    expected = run(new_instance(), None)
    for way in ways:
        uc = new_instance()
        with cpu.attach(uc, identity=True, **way) as m:
            assert run(uc, m) == expected, way
