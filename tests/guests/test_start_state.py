# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a program's first instruction finds every register as a native process does.

start_state.S stores them all before it changes one; the same file runs on the host's kernel and
here. What is not compared, and why: RSP's value (the host's auxiliary vector has more entries, and
its strings differ: its alignment is compared, and what it points to), FXSAVE's MXCSR_MASK (what the
processor has, not what the kernel set), and its bytes from 464 on, which no processor writes; of
FNSTENV's words the upper halves (docs/engine_limits.md).
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import run

STATIC = ("-nostdlib", "-static", "-no-pie")
STATIC_PIE = ("-nostdlib", "-static-pie", "-fPIE")

QWORDS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
    "rflags", "rip", "cs", "ss", "ds", "es", "fs", "gs", "argc", "cr0", "fs_base", "gs_base",
)  # fmt: skip
FXSAVE = ("fcw", "fsw", "ftw", "fop", "fip", "fdp", "mxcsr", "mxcsr_mask")
FNSTENV = ("fcw", "fsw", "ftw", "fip", "fcs", "fdp", "fds")
CR0_STATE = 0x80050033
"""arch/x86/include/uapi/asm/processor-flags.h"""


def decode(dump: bytes) -> dict[str, Any]:
    """start_state.S's dump by name."""
    state: dict[str, Any] = dict(
        zip(QWORDS, struct.unpack_from(f"<{len(QWORDS)}Q", dump), strict=True)
    )
    state.update(zip(FXSAVE, struct.unpack_from("<HHHHQQII", dump, 256), strict=True))
    for n in range(8):
        state[f"st{n}"] = dump[256 + 32 + 16 * n :][:16]
    for n in range(16):
        state[f"xmm{n}"] = dump[256 + 160 + 16 * n :][:16]
    env = struct.unpack_from("<7I", dump, 768)
    state.update((f"fnstenv.{name}", value) for name, value in zip(FNSTENV, env, strict=True))
    for word in ("fcw", "fsw", "ftw", "fds"):
        state[f"fnstenv.{word}"] &= 0xFFFF
    return state


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
@pytest.mark.parametrize("flags", [STATIC, STATIC_PIE], ids=["static", "static-pie"])
def test_every_register_is_the_native_one(flags: tuple[str, ...], fidelity: str) -> None:
    program = build("start_state.S", *flags)
    native = decode(run_natively(program))
    ours = decode(run(program, fidelity=fidelity).stdout)
    assert native["rsp"] % 16 == ours["rsp"] % 16 == 0
    for state in (native, ours):
        del state["rsp"], state["mxcsr_mask"]
    assert ours == native


def test_they_are_those_of_linux_s_source() -> None:
    """Besides the host's word: 0 but for what ELF_PLAT_INIT(), start_thread() and
    fpu_flush_thread() set.
    """
    state = decode(run(build("start_state.S", *STATIC)).stdout)
    values = {name: value for name, value in state.items() if value not in (0, bytes(16))}
    del values["rsp"], values["rip"], values["mxcsr_mask"]
    assert values == {
        "rflags": 0x202,
        "cs": 0x33,
        "ss": 0x2B,
        "argc": 1,
        "cr0": CR0_STATE,
        "fcw": 0x37F,
        "mxcsr": 0x1F80,
        "fnstenv.fcw": 0x37F,
        "fnstenv.ftw": 0xFFFF,
    }
