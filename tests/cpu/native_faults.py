# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's processor and kernel as an oracle: instructions run natively, and the exceptions they raise."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

NONCANONICAL = 0x8000000000000000
_RUNNER = r"""
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

static sigjmp_buf back;
static volatile long signo, trap, code;

static void handler(int number, siginfo_t *info, void *context)
{
	(void)info;
	signo = number;
	trap = ((ucontext_t *)context)->uc_mcontext.gregs[REG_TRAPNO];
	code = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR];
	siglongjmp(back, 1);
}

static void run(void (*instruction)(void), unsigned long at)
{
	signo = 0;
	if (!sigsetjmp(back, 1))
		__asm__ volatile("mov %1, %%rdi; mov %%rdi, %%rsi; xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx; call *%0"
				 : : "r"(instruction), "r"(at)
				 : "rax", "rcx", "rdx", "rdi", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "memory");
	printf("%ld %ld %ld\n", (long)signo, signo ? (long)trap : 0, signo ? (long)code : 0);
}

int main(void)
{
	static char room[65536];
	stack_t other = { .ss_sp = room, .ss_size = sizeof(room) };
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	char *absent = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *read_only = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	read_only[0] = 1;
	mprotect(read_only, 4096, PROT_READ);
	sigaltstack(&other, 0);
	sigaction(SIGSEGV, &action, 0);
	sigaction(SIGBUS, &action, 0);
"""


class Fault(NamedTuple):
    """What one instruction ended in; all 0 if in nothing."""

    signo: int
    vector: int
    error_code: int


class Natively(NamedTuple):
    """The same instruction on a page that is absent, on a read-only one, and on a non-canonical address."""

    absent: Fault
    read_only: Fault
    noncanonical: Fault


@functools.cache
def run_natively(sources: tuple[str, ...]) -> dict[str, Natively]:
    """Run each of the instructions, whose operand RDI points to; skips the test where that cannot be."""
    compiler = shutil.which("gcc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("the native oracle needs gcc on x86-64")
    functions = "".join(
        f'void f{n}(void);\n__asm__("f{n}: .intel_syntax noprefix; {source}; ret; .att_syntax");\n'
        for n, source in enumerate(sources)
    )
    targets = "(unsigned long)absent + 64", "(unsigned long)read_only + 64", f"{NONCANONICAL:#x}"
    calls = "".join(f"\trun(f{n}, {target});\n" for n in range(len(sources)) for target in targets)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "natively.c"), Path(folder, "natively")
        source.write_text(functions + _RUNNER + calls + "\treturn 0;\n}\n")
        subprocess.run([compiler, "-O1", "-w", "-fno-pie", "-no-pie", "-o", program, source], check=True)
        lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    faults = [Fault(*map(int, line.split())) for line in lines]
    return {source: Natively(*faults[3 * n : 3 * n + 3]) for n, source in enumerate(sources)}
