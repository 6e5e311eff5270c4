/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The oracle of native_faults.py: each instruction, given an address in RDI and RSI, on a page that
 * is absent, on a read-only one, and on an address that is not canonical.  A line for each: signal,
 * vector, error code.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

#define NONCANONICAL 0x8000000000000000ul

extern void (*const instructions[])(void);
extern const unsigned long nr_instructions;

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
		__asm__ volatile("mov %1, %%rdi; mov %%rdi, %%rsi\n\t"
				 "xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx\n\t"
				 "push %%rbp; call *%0; pop %%rbp"
				 :
				 : "r"(instruction), "r"(at)
				 : "rax", "rcx", "rdx", "rdi", "rsi", "r8", "r9", "r10", "r11",
				   "r12", "r13", "memory");
	printf("%ld %ld %ld\n", signo, signo ? trap : 0, signo ? code : 0);
}

int main(void)
{
	static char room[65536];
	stack_t other = { .ss_sp = room, .ss_size = sizeof(room) };
	struct sigaction action = { .sa_sigaction = handler,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	char *absent = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *read_only = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	read_only[0] = 1;
	mprotect(read_only, 4096, PROT_READ);
	sigaltstack(&other, 0);
	sigaction(SIGSEGV, &action, 0);
	sigaction(SIGBUS, &action, 0);
	for (unsigned long i = 0; i < nr_instructions; i++) {
		run(instructions[i], (unsigned long)absent + 64);
		run(instructions[i], (unsigned long)read_only + 64);
		run(instructions[i], NONCANONICAL);
	}
	return 0;
}
