/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A crash is told as what it is: mostly a thread that went through a freed table, whose entries
 * name a frame beyond RAM.  Under a sanitizer, which has more to say, it is left to that.
 */
#include <signal.h>
#include <string.h>

#include "mm/pgtable.h"
#include "stress.h"

/* Is this the memory, or the struct page, of the frame that a freed table's entries name? */
static bool is_by_poison(u64 address)
{
	const struct memory *ram = &world.memory;
	u64 frame = (u64)(uintptr_t)ram->ram + (POISON & X86_ADDR_MASK) - ram->base;
	u64 page = (u64)(uintptr_t)ram->pages +
		   ((POISON & X86_ADDR_MASK) - ram->base) / PAGE_SIZE * sizeof(struct page);

	return address - frame < PAGE_SIZE || address - page < sizeof(struct page);
}

static void on_crash(int number, siginfo_t *info, void *context)
{
	u64 address = (u64)(uintptr_t)info->si_addr;

	(void)context;
	if (is_by_poison(address))
		defect("%s: CPU %u followed an entry of a table that was freed",
		       operation_names[me->operation], me->cpu.id);
	defect("%s: CPU %u died of %s at %#lx", operation_names[me->operation], me->cpu.id,
	       strsignal(number), address);
}

void catch_crashes(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction action = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO };

	for (u32 i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
#else
	(void)on_crash;
#endif
}
