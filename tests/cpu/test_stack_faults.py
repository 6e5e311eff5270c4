# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a non-canonical address is #SS where the stack segment is used, else #GP; to Linux SIGBUS
and SIGSEGV.
"""

from __future__ import annotations

import pytest
import unicorn
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_RSP

import cpu
from cpu.exceptions import EXCEPTION_SIGNALS
from cpu.vcpu import VmExit
from mmu.errors import GeneralProtection, StackFault
from tests.cpu.assemble import assemble
from tests.cpu.native_faults import NONCANONICAL, run_natively
from tests.cpu.world import ALL, TEXT, How, reg, world

STACK = (
    "mov rsp, rdi; mov rax, [rsp]",
    "mov rsp, rdi; mov [rsp + 16], al",
    "mov rsp, rdi; push rax",
    "mov rsp, rdi; pop rax",
    "mov rsp, rdi; pushfq",
    "mov rsp, rdi; ret",
    "mov rsp, rdi; call rax",
    "mov rbp, rdi; mov rax, [rbp]",
    "mov rbp, rdi; inc dword ptr [rbp + 8]",
    "mov rbp, rdi; .byte 0x3e; mov rax, [rbp + 8]",
    "mov rbp, rdi; mov rax, [rbp + rcx]",
    "mov rbp, rdi; leave",
    "mov rbp, rdi; push [rbp]",
    "mov rbp, rdi; call [rbp]",
)
OTHER = (
    "mov rax, [rdi]",
    "mov r13, rdi; mov rax, [r13]",
    "mov r12, rdi; mov rax, [r12]",
    "mov rbp, rdi; mov rax, [rcx + rbp]",
    "mov rbp, rdi; mov rax, fs:[rbp]",
    ".byte 0x36; mov rax, [rdi]",
    "push [rdi]",
    "pop [rdi]",
    "call [rdi]",
    "stosb",
)


@pytest.mark.parametrize("how", ALL, ids=str)
def test_vectors_and_signals_are_those_of_this_host(how: How) -> None:
    natively = run_natively(STACK + OTHER)
    for source, host in natively.items():
        with world(f"{source}; syscall", how, regs={"RDI": NONCANONICAL, "RCX": 0, "RAX": 0}) as w:
            exit_ = w.run()
            assert exit_.reason == VmExit.EXCEPTION, source
            assert exit_.vector == host.noncanonical.vector, source
            assert exit_.rip == TEXT + (3 if source.startswith("mov r") and ";" in source else 0), (
                source
            )
            assert EXCEPTION_SIGNALS[exit_.vector][0] == host.noncanonical.signo


def test_the_hosts_are_as_the_rule_says() -> None:
    natively = run_natively(STACK + OTHER)
    assert {natively[source].noncanonical.vector for source in STACK} == {StackFault.vector}
    assert {natively[source].noncanonical.vector for source in OTHER} == {GeneralProtection.vector}


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("push rax", StackFault),
        ("mov rbx, [rsp]", StackFault),
        ("mov [rax], bl", GeneralProtection),
    ],
)
def test_attached_instances_raise_it(
    fidelity: str, source: str, kind: type[StackFault | GeneralProtection]
) -> None:
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(TEXT, 0x1000)
    code = assemble(source)
    uc.mem_write(TEXT, code)
    with cpu.attach(uc, identity=True, fidelity=fidelity) as mmu:
        uc.reg_write(UC_X86_REG_RSP, NONCANONICAL + 8)
        uc.reg_write(unicorn.x86_const.UC_X86_REG_RAX, NONCANONICAL)
        with pytest.raises(kind) as caught:
            mmu.emu_start(TEXT, TEXT + len(code))
        assert caught.value.address in (NONCANONICAL, NONCANONICAL + 8)
        assert caught.value.rip == TEXT


@pytest.mark.parametrize("how", ALL, ids=str)
def test_registers_are_those_before(how: How) -> None:
    with world("mov rsp, rdi; push rax; syscall", how, regs={"RDI": NONCANONICAL}) as w:
        w.run()
        assert w.vcpu.read_reg(reg("RSP")) == NONCANONICAL
