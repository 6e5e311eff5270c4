// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What programs do with signals and memory: a heap of SIZE (64M) that its SIGSEGV handler makes
 * accessible, 2 MiB at a time; a collector's write barrier on it; a stack that overflows; an
 * interval timer; a child that is stopped, continued and waited for.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "guest.h"

#define ALTSTACK_BYTES (64ul << 10)
#define ROUNDS 3

static char *heap;
static size_t heap_size;
static volatile sig_atomic_t opened, written, ticks;
static sigjmp_buf out_of_stack;

static int in_heap(const char *at)
{
	return at >= heap && at < heap + heap_size;
}

/* The heap is reserved without access: a span becomes accessible when it is touched. */
static void open_span(int signo, siginfo_t *info, void *context)
{
	char *at = info->si_addr;

	(void)signo;
	(void)context;
	if (!in_heap(at) || info->si_code != SEGV_ACCERR)
		_exit(3);
	at = (char *)((uintptr_t)at & -TABLE_SPAN);
	if (mprotect(at, TABLE_SPAN, PROT_READ | PROT_WRITE))
		_exit(4);
	opened++;
}

/* A page is read-only until it is written to: then it is dirty. */
static void mark_dirty(int signo, siginfo_t *info, void *context)
{
	char *at = info->si_addr;

	(void)signo;
	(void)context;
	if (!in_heap(at) || info->si_code != SEGV_ACCERR)
		_exit(5);
	at = (char *)((uintptr_t)at & -PAGE_BYTES);
	if (mprotect(at, PAGE_BYTES, PROT_READ | PROT_WRITE))
		_exit(6);
	written++;
}

static void no_stack(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
	siglongjmp(out_of_stack, 1);
}

static void tick(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
	ticks++;
}

static void on(int signo, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	if (sigaction(signo, &action, NULL))
		die("sigaction failed");
}

static void lazy_heap(void)
{
	on(SIGSEGV, open_span, 0);
	heap = mmap(NULL, heap_size + TABLE_SPAN, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (heap == MAP_FAILED)
		die("cannot map %zu bytes", heap_size);
	heap = (char *)(((uintptr_t)heap + TABLE_SPAN - 1) & -TABLE_SPAN);
	madvise(heap, heap_size, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < heap_size; at += 16 * PAGE_BYTES)
		heap[at] = (char)(at >> 16);
	printf("lazy heap: %d spans opened\n", opened);
	print_vm("opened");
}

static void write_barrier(void)
{
	on(SIGSEGV, mark_dirty, 0);
	for (int round = 1; round <= ROUNDS; round++) {
		written = 0;
		if (mprotect(heap, heap_size, PROT_READ))
			die("mprotect failed");
		for (size_t at = 0; at < heap_size; at += (size_t)round * 64 * PAGE_BYTES)
			heap[at] = (char)(heap[at] + round);
		printf("write barrier: %d dirty pages in round %d\n", written, round);
	}
	print_vm("collected");
	if (madvise(heap, heap_size, MADV_DONTNEED))
		die("MADV_DONTNEED failed");
	print_vm("purged");
}

__attribute__((noinline)) static int deeper(volatile char *above)
{
	volatile char here[64 << 10];

	here[0] = *above;
	return here[0] ? deeper(here) + here[0] : 0;
}

static void stack_guard(void)
{
	stack_t stack = { .ss_size = ALTSTACK_BYTES };
	volatile char top = 1;
	volatile int times = 0;

	stack.ss_sp = mmap(NULL, ALTSTACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL))
		die("no alternate stack");
	on(SIGSEGV, no_stack, SA_ONSTACK);
	if (!sigsetjmp(out_of_stack, 1) || ++times < ROUNDS)
		deeper(&top);
	printf("stack overflow: survived %d\n", times);
}

static void timer(void)
{
	struct itimerval every = { { 0, 20 }, { 0, 20 } }, off = { { 0, 0 }, { 0, 0 } };
	volatile unsigned long work = 0;

	on(SIGVTALRM, tick, SA_RESTART);
	if (setitimer(ITIMER_VIRTUAL, &every, NULL))
		die("setitimer failed");
	while (ticks < 5) {
		for (int i = 0; i < 100; i++)
			work++;
		getppid();
	}
	setitimer(ITIMER_VIRTUAL, &off, NULL);
	printf("timer: %s\n", work ? "interrupted a computation five times" : "too quick");
}

static void jobs(void)
{
	static const int signals[] = { SIGSTOP, SIGCONT, SIGTERM };
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		die("fork failed");
	if (!child)
		for (;;)
			pause();
	for (int i = 0; i < 3; i++) {
		if (kill(child, signals[i]) || waitpid(child, &status, WUNTRACED | WCONTINUED) != child)
			die("the child is lost");
		printf("child: %s\n", WIFSTOPPED(status)     ? "stopped"
				      : WIFCONTINUED(status) ? "continued"
				      : WIFSIGNALED(status)  ? "ended by a signal"
							     : "exited");
	}
}

int main(int argc, char **argv)
{
	heap_size = argc > 1 ? parse_size(argv[1]) : 64ul << 20;
	heap_size = (heap_size + TABLE_SPAN - 1) & -TABLE_SPAN;
	lazy_heap();
	write_barrier();
	stack_guard();
	timer();
	jobs();
	print_vm("end");
	return 0;
}
