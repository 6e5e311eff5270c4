// SPDX-License-Identifier: GPL-2.0-or-later
/* bdwgc, wasm runtimes, Java safepoints: a SIGSEGV handler opens a page that mprotect() closed
 * (dirty bits in user space). */
#include "c.h"
#include <signal.h>
static char *heap;
static volatile long dirty;
static void on_fault(int sig, siginfo_t *info, void *ctx)
{
	char *page = (char *)((unsigned long)info->si_addr & -PAGE);
	dirty++;
	mprotect(page, PAGE, RW);
}
int main(void)
{
	struct sigaction a = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	sigaction(SIGSEGV, &a, 0);
	baseline();
	heap = map_at((char *)(64 * G), 4 * M, RW, MAP_FIXED);
	touch(heap, 4 * M);
	mprotect(heap, 4 * M, PROT_READ);
	for (int i = 0; i < 1024; i += 3)
		heap[i * PAGE] = 5;
	say("dirty pages found by the handler: %ld\n", dirty);
	show("a third of 4 MiB written");
	return 0;
}
