// SPDX-License-Identifier: GPL-2.0-or-later
/* Static state, for a signal handler has no other. */
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "other_agent.h"

#define PAGE_BYTES 4096
#define MAX_TRAPS 4
#define MAX_WRITES 4

static struct trap {
	uint8_t *page;
	struct agent_write write[MAX_WRITES];
	uint32_t nr;
	int sprung; /* 1 by a LOCK CMPXCHG, -1 by anything else */
} traps[MAX_TRAPS];
static uint32_t nr_traps;
static struct sigaction before;

/* Is it F0 [REX] 0F B1? */
static bool is_lock_cmpxchg(const uint8_t *code)
{
	if (*code++ != 0xf0)
		return false;
	if ((*code & 0xf0) == 0x40)
		code++;
	return code[0] == 0x0f && code[1] == 0xb1;
}

static void spring(struct trap *trap, const ucontext_t *context)
{
	mprotect(trap->page, PAGE_BYTES, PROT_READ | PROT_WRITE);
	for (uint32_t i = 0; i < trap->nr; i++)
		*trap->write[i].word = trap->write[i].value;
	trap->sprung = is_lock_cmpxchg((const uint8_t *)context->uc_mcontext.gregs[REG_RIP]) ? 1
											     : -1;
}

/* A fault that is no trap's goes to whoever had the signal before, when the instruction is tried
 * again. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & -PAGE_BYTES;

	for (uint32_t i = 0; i < nr_traps; i++)
		if ((uintptr_t)traps[i].page == page && !traps[i].sprung) {
			spring(&traps[i], context);
			return;
		}
	sigaction(signal, &before, NULL);
}

int agent_trap(void *page, const struct agent_write *writes, uint32_t nr)
{
	struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct trap *trap = &traps[nr_traps];

	if (nr_traps == MAX_TRAPS || nr > MAX_WRITES)
		return -1;
	if (!nr_traps && sigaction(SIGSEGV, &ours, &before))
		return -1;
	*trap = (struct trap){ .page = page, .nr = nr };
	memcpy(trap->write, writes, nr * sizeof(*writes));
	nr_traps++;
	return mprotect(page, PAGE_BYTES, PROT_READ);
}

int agent_release(void)
{
	int sprung = 0;

	if (nr_traps)
		sigaction(SIGSEGV, &before, NULL);
	for (uint32_t i = 0; i < nr_traps; i++) {
		mprotect(traps[i].page, PAGE_BYTES, PROT_READ | PROT_WRITE);
		sprung += traps[i].sprung;
	}
	nr_traps = 0;
	return sprung;
}
