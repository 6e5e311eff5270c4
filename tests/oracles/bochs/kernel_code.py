# SPDX-License-Identifier: GPL-2.0-or-later
"""The code of all random kernels: a loop that takes one operation after another from memory.

A kernel is data (``kernels``), so code never changes: Bochs keeps decoded code by physical address.
An operation is 32 bytes: the address of its code, RBX, RCX and RDX. What it found goes to the log.
An exception ends it: its vector, error code, frame and CR2 go to the log, and the loop goes on with
the next one. User accesses enter CPL 3 by IRETQ or SYSRET, and come back by INT 0x80 or SYSCALL.
"""

from __future__ import annotations

import functools
import struct
from typing import Final

from mmu.x86.entries import X86_A, X86_D, X86_P, X86_RW, entry_offset
from mmu.x86.registers import RFLAGS_AC
from tests.cpu.assemble import assemble
from tests.oracles.bochs import layout

LOG: Final = 0xF000
LOG_SIZE: Final = 0x2000
OPS: Final = 0x12000
OPS_SIZE: Final = 0x2000
SCRATCH: Final = 0x14000
KERNEL: Final = 0x15000
USER: Final = 0x16000
WINDOW: Final = 0x100000
"""From here on, in virtual addresses, the frames of tables are mapped one after another."""

SYSCALL: Final = 0x80
FAULT_WORDS: Final = 7
"""Of the log: vector, error code, RIP, CS, RFLAGS, RSP, CR2."""

_HAVE_ERROR_CODES: Final = (8, 10, 11, 12, 13, 14, 17)
_LOG_RAX: Final = "mov [r14], rax\nadd r14, 8\njmp dispatch\n"

_SUPERVISOR: Final = {
    "end": "hlt\n",
    "load": "mov rax, [rbx]\n" + _LOG_RAX,
    "load1": "movzx eax, byte ptr [rbx]\n" + _LOG_RAX,
    "store": "mov [rbx], rcx\njmp dispatch\n",
    "store1": "mov [rbx], cl\njmp dispatch\n",
    "add": "lock xadd [rbx], rcx\nmov rax, rcx\n" + _LOG_RAX,
    "movs": "mov rsi, rbx\nmov rdi, rcx\nmovsq\njmp dispatch\n",
    "rep": "mov rsi, rbx\nmov rdi, rcx\nmov rcx, rdx\nrep movsb\njmp dispatch\n",
    "call": "call rbx\njmp dispatch\n",
    "invlpg": "invlpg [rbx]\njmp dispatch\n",
    "invpcid": (
        "mov [r13 + SCRATCH], rcx\nmov [r13 + SCRATCH + 8], rdx\n"
        "invpcid rbx, [r13 + SCRATCH]\njmp dispatch\n"
    ),
    "cr0": "mov cr0, rbx\nmov rax, cr0\n" + _LOG_RAX,
    "cr3": "mov cr3, rbx\nmov rax, cr3\n" + _LOG_RAX,
    "cr4": "mov cr4, rbx\nmov rax, cr4\n" + _LOG_RAX,
    "efer": (
        "mov ecx, 0xc0000080\nmov rax, rbx\nmov rdx, rbx\nshr rdx, 32\nwrmsr\nrdmsr\n" + _LOG_RAX
    ),
    "stac": "stac\njmp dispatch\n",
    "clac": "clac\njmp dispatch\n",
    "user": (
        "mov r8, rcx\npush USER_DS\nlea rax, [r13 + USER_STACK]\npush rax\npushfq\npush USER_CS\n"
        "push rdx\niretq\n"
    ),
    "sysret": (
        "mov r8, rcx\nmov rcx, rdx\npushfq\npop r11\nlea rax, [r13 + USER_STACK]\n"
        "mov rsp, rax\nsysretq\n"
    ),
}
"""By name: what an operation does at CPL 0. The last two go to CPL 3, where RDX says."""
ENTERS_CPL3: Final = ("user", "sysret")
_AT_CPL3: Final = {
    "load": "mov rax, [rbx]\n",
    "store": "mov [rbx], r8\n",
    "add": "lock xadd [rbx], r8\nmov rax, r8\n",
    "call": "call rbx\nxor eax, eax\n",
    "invlpg": "invlpg [rbx]\n",
    "cr3": "mov cr3, rbx\n",
}
_BACK: Final = {"user": f"int {SYSCALL:#x}\n", "syscall": "syscall\n"}
_USER: Final = {
    f"{back}_{name}": code + ending
    for back, ending in _BACK.items()
    for name, code in _AT_CPL3.items()
}
"""What RDX leads to, each with both ways back to CPL 0."""

STAR: Final = (layout.KERNEL_DS << 16 | layout.KERNEL_CS) << 32
"""SYSRET: SS and CS are 8 and 16 above the upper half; SYSCALL: CS is the lower half, SS 8 above.
"""
FMASK: Final = RFLAGS_AC | 0x700
"""SYSCALL clears AC, DF, IF and TF."""


def _constants() -> str:
    found = {
        "SCRATCH": SCRATCH,
        "USER_DS": layout.USER_DS,
        "USER_CS": layout.USER_CS,
        "USER_STACK": layout.USER_STACK,
    }
    return "".join(f".equ {name}, {value:#x}\n" for name, value in found.items())


def _vector_entry(vector: int) -> str:
    has_code = vector in _HAVE_ERROR_CODES
    return f"mov ecx, {vector}\njmp {'fault' if has_code else 'fault_without_code'}\n"


_LOOP: Final = f"""
dispatch:
    lea rsp, [r13 + {layout.KERNEL_STACK}]
    mov rax, [r15]
    mov rbx, [r15 + 8]
    mov rcx, [r15 + 16]
    mov rdx, [r15 + 24]
    add r15, 32
    jmp rax
syscall_entry:
    {_LOG_RAX}
fault_without_code:
    push 0
fault:
    mov [r14], rcx
    mov rax, [rsp]
    mov [r14 + 8], rax
    mov rax, [rsp + 8]
    mov [r14 + 16], rax
    mov rax, [rsp + 16]
    mov [r14 + 24], rax
    mov rax, [rsp + 24]
    mov [r14 + 32], rax
    mov rax, [rsp + 32]
    mov [r14 + 40], rax
    mov rax, cr2
    mov [r14 + 48], rax
    add r14, {8 * FAULT_WORDS}
    jmp dispatch
"""


@functools.cache
def _kernel() -> tuple[bytes, dict[str, int]]:
    """The page of CPL 0, and the address of each piece of it by name."""
    pieces = {
        **{f"vector{vector}": _vector_entry(vector) for vector in range(layout.VECTORS)},
        **_SUPERVISOR,
    }
    names = ["dispatch", "syscall_entry", *pieces]
    body = _LOOP + "".join(f"{_label(name)}:\n{code}" for name, code in pieces.items())
    return _assembled(body, names, KERNEL)


@functools.cache
def _user() -> tuple[bytes, dict[str, int]]:
    body = "".join(f"{_label(name)}:\n{code}" for name, code in _USER.items())
    return _assembled(body, list(_USER), USER)


def _label(name: str) -> str:
    return name if name.startswith(("dispatch", "syscall")) else f"do_{name}"


def _assembled(body: str, names: list[str], page: int) -> tuple[bytes, dict[str, int]]:
    table = "".join(f".long {_label(name)} - start\n" for name in names)
    code = assemble(f"{_constants()}start:\n{table}{body}")
    assert len(code) <= layout.PAGE
    offsets = struct.unpack_from(f"<{len(names)}I", code)
    return code, {
        name: layout.CODE + page + offset for name, offset in zip(names, offsets, strict=True)
    }


@functools.cache
def addresses() -> dict[str, int]:
    """The address of each operation, and of what CPL 3 does, by name."""
    return {**_kernel()[1], **_user()[1]}


def window(pa: int) -> int:
    """Where a kernel sees the word of a table at pa."""
    frame = layout.FRAMES.index(pa & -layout.PAGE)
    return layout.CODE + WINDOW + frame * layout.PAGE + pa % layout.PAGE


def window_of(va: int) -> int | None:
    """The word of a table that a kernel sees at va; None if there is none."""
    offset = va - layout.CODE - WINDOW
    if not 0 <= offset < len(layout.FRAMES) * layout.PAGE:
        return None
    return layout.FRAMES[offset // layout.PAGE] + offset % layout.PAGE


@functools.cache
def user_names() -> dict[int, str]:
    """The names of what CPL 3 does, by address."""
    return {address: name for name, address in _user()[1].items()}


def fixed_bytes() -> list[tuple[int, bytes]]:
    """What the guest's own pages hold in every kernel."""
    at = addresses()
    idt = b"".join(layout.gate(at[f"vector{vector}"]) for vector in range(layout.VECTORS))
    fixed = [
        (layout.IDT, idt),
        (layout.IDT + 16 * SYSCALL, layout.gate(at["syscall_entry"], dpl=3)),
        (layout.GDT, layout.descriptors()),
        (layout.TSS, layout.task_state()),
        (KERNEL, _kernel()[0]),
        (USER, _user()[0]),
    ]
    words = layout.own_tables(frozenset({USER, layout.USER_STACK - layout.PAGE}))
    for number, frame in enumerate(layout.FRAMES):
        va = layout.CODE + WINDOW + number * layout.PAGE
        entry = frame | X86_P | X86_RW | X86_A | X86_D
        words.append((layout.OWN_TABLES[1] + entry_offset(va, 1), entry))
    fixed += [(pa, entry.to_bytes(8, "little")) for pa, entry in words]
    return fixed
