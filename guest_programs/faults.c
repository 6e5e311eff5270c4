// SPDX-License-Identifier: GPL-2.0-or-later
/* faults MODE|code:HEX [NUMBER|FILE]: one way to fail, or to come close to it, for each mode. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <x86intrin.h>

#include "guest.h"

static const char *argument; /* the second argument */
static unsigned long number; /* its value, if it starts with a digit */

static void *map(size_t size, int prot)
{
	void *at = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("cannot map %zu bytes", size);
	return at;
}

static void nowhere(void)
{
	((void (*)(void))0x10000)();
}

static void null_read(void)
{
	volatile int *nothing = NULL;

	__asm__ volatile("" : "+r"(nothing));
	*nothing;
}

static void noncanonical(void)
{
	volatile uint64_t at = 0x8000000000000000;

	*(volatile char *)at = 1;
}

static void noncanonical_stack(void)
{
	__asm__ volatile("mov $0x8000000000000000, %%rax\n\txchg %%rax, %%rsp\n\tpush %%rax"
			 :
			 :
			 : "rax", "memory");
}

static void kernel_read(void)
{
	volatile uint64_t at = 0xffff888000000000;

	*(volatile char *)at;
}

__attribute__((noinline)) static unsigned long deeper(volatile char *above)
{
	volatile char here[512];

	here[0] = *above;
	return here[0] ? deeper(here) + (unsigned long)here[0] : 0;
}

static void stack_overflow(void)
{
	volatile char top = 1;

	number = deeper(&top);
}

static void text_write(void)
{
	volatile char *at = (volatile char *)(uintptr_t)text_write;

	*at = 0;
}

static void data_jump(void)
{
	unsigned char *code = map(PAGE_BYTES, PROT_READ | PROT_WRITE);

	code[0] = 0xc3;
	((void (*)(void))code)();
}

static void readonly_write(void)
{
	volatile char *at = map(PAGE_BYTES, PROT_READ | PROT_WRITE);

	at[0] = 1;
	if (mprotect((void *)at, PAGE_BYTES, PROT_READ))
		die("mprotect failed");
	at[0] = 2;
}

static void past_end_of_file(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	off_t size = lseek(fd, 0, SEEK_END);
	size_t first_past = ((size_t)size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	volatile char *at = mmap(NULL, first_past + PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);

	if (at == MAP_FAILED)
		die("cannot map the program's file");
	at[first_past];
}

static void divide(void)
{
	volatile unsigned int zero = 0;

	__asm__ volatile("xor %%edx, %%edx; mov $1, %%eax; divl %0" : : "m"(zero) : "eax", "edx");
}

static void illegal(void)
{
	__asm__ volatile("ud2");
}

static void exit_with(void)
{
	_exit((int)number);
}

static void kill_self(void)
{
	if (kill(getpid(), (int)number))
		die("kill failed");
	printf("survived signal %lu\n", number);
}

static void unknown_syscall(void)
{
	for (int i = 0; i < 3; i++)
		printf("%ld\n", syscall((long)number));
	printf("errno %d\n", errno);
}

/* Copy FILE, or standard input, to standard output. */
static void cat(void)
{
	int fd = argument ? open(argument, O_RDONLY) : 0;
	char text[1000];
	ssize_t got;

	if (fd < 0)
		die("cannot open %s: %s", argument, strerror(errno));
	while ((got = read(fd, text, sizeof(text))) > 0)
		if (write(1, text, (size_t)got) != got)
			die("cannot write: %s", strerror(errno));
}

/* NUMBER of the cheapest system calls there are. */
static void syscalls(void)
{
	for (unsigned long i = 0; i < number; i++)
		if (syscall(SYS_getppid) < 0)
			die("getppid failed");
}

/* What the kernel put on the stack behind the environment; the C library keeps a value of its own
 * for some. */
static unsigned long auxiliary(unsigned long type)
{
	unsigned long *word = (unsigned long *)environ;

	while (*word++)
		;
	for (; *word != AT_NULL; word += 2)
		if (*word == type)
			return word[1];
	return 0;
}

/* Time stamps grow, and CPUID claims neither AVX nor random numbers of the host's. */
static void clocks(void)
{
	unsigned int aux, a = 1, b, c = 0, d;
	uint64_t first = __rdtsc(), second = __rdtsc(), third = __rdtscp(&aux);

	if (first >= second || second >= third)
		die("the time-stamp counter does not grow");
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	printf("avx %u, rdrand %u, sse2 %u, hwcap %u\n", c >> 28 & 1, c >> 30 & 1, d >> 26 & 1,
	       auxiliary(AT_HWCAP) == d);
}

/* Code that changes under the processor, in place and by remapping. */
static void self_modifying(void)
{
	/* mov $imm32, %eax; ret */
	static const unsigned char body[] = { 0xb8, 0, 0, 0, 0, 0xc3 };
	unsigned char *code = map(PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
	unsigned int sum = 0;

	for (unsigned int i = 1; i <= 100; i++) {
		memcpy(code, body, sizeof(body));
		memcpy(code + 1, &i, sizeof(i));
		sum += ((unsigned int (*)(void))code)();
		if (i % 10 == 0 && madvise(code, PAGE_BYTES, MADV_DONTNEED))
			die("madvise failed");
	}
	printf("sum %u\n", sum);
}

static void on_signal(int signo)
{
	(void)signo;
}

/* Handlers are remembered, told back, and ignoring is honoured. */
static void handlers(void)
{
	struct sigaction new = { .sa_handler = on_signal }, old;
	sigset_t mask, was;

	if (sigaction(SIGUSR1, &new, NULL) || sigaction(SIGUSR1, NULL, &old) ||
	    old.sa_handler != on_signal)
		die("sigaction does not remember");
	if (sigaction(SIGKILL, &new, NULL) != -1 || errno != EINVAL)
		die("SIGKILL took a handler");
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) || sigprocmask(SIG_BLOCK, NULL, &was) ||
	    !sigismember(&was, SIGUSR2))
		die("sigprocmask does not remember");
	signal(SIGTERM, SIG_IGN);
	raise(SIGTERM);
	raise(SIGCHLD);
	puts("handlers ok");
}

/* A fault for which a handler stands, but its signal is blocked. */
static void blocked_fault(void)
{
	sigset_t mask;

	signal(SIGSEGV, on_signal);
	sigemptyset(&mask);
	sigaddset(&mask, SIGSEGV);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fflush(stdout);
	null_read();
}

static void out_of_memory(void)
{
	for (;;) {
		volatile char *at = map(1 << 20, PROT_READ | PROT_WRITE);

		for (size_t page = 0; page < 1 << 20; page += PAGE_BYTES)
			at[page] = 1;
	}
}

/* Machine code, "code:" and hexadecimal digits, that returns or does not. */
static void machine_code(void)
{
	unsigned char *code = map(PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
	const char *digits = argument + strlen("code:");
	size_t size = 0;
	unsigned int byte;

	while (size < PAGE_BYTES - 1 && sscanf(digits + 2 * size, "%2x", &byte) == 1)
		code[size++] = (unsigned char)byte;
	code[size] = 0xc3;
	((void (*)(void *))code)(code + PAGE_BYTES / 2);
	puts("returned");
}

/* The longest sleep there is, twice, and the time after it. */
static void long_sleep(void)
{
	struct timespec longest = { .tv_sec = 0x7fffffffffffffff }, now;
	struct timeval tv;

	nanosleep(&longest, NULL);
	nanosleep(&longest, NULL);
	if (clock_gettime(CLOCK_REALTIME, &now) || clock_gettime(CLOCK_MONOTONIC, &now) ||
	    gettimeofday(&tv, NULL))
		die("no time after a long sleep");
	puts("slept");
}

/* More unknown system calls, of different numbers, than a report can list. */
static void flood(void)
{
	for (long nr = 1000; nr < 3000; nr++)
		if (syscall(nr) != -1 || errno != ENOSYS)
			die("system call %ld exists", nr);
	signal(SIGCHLD, on_signal);
	for (int i = 0; i < 2000; i++)
		raise(SIGCHLD);
}

/* A read whose buffer ends before the file does: short, and the rest is still to be read. */
static void short_read(void)
{
	volatile char *buffer = map(2 * PAGE_BYTES, PROT_READ | PROT_WRITE);
	int fd = open("/proc/self/exe", O_RDONLY);

	munmap((char *)buffer + PAGE_BYTES, PAGE_BYTES);
	printf("read %zd, ", read(fd, (char *)buffer, 2 * PAGE_BYTES));
	printf("position %ld, ", (long)lseek(fd, 0, SEEK_CUR));
	printf("then %zd\n", read(fd, (char *)buffer + PAGE_BYTES, 1));
}

/* A read of what a pipe holds, into a buffer that straddles a boundary of 1 MiB. */
static void pipe_read(void)
{
	char *buffer = (char *)map(2 << 20, PROT_READ | PROT_WRITE);
	char *boundary = (char *)(((unsigned long)buffer + (1 << 20)) & ~((1ul << 20) - 1));

	printf("read %zd\n", read(0, boundary - 4, 100));
}

/* Shared memory is not brought in by MADV_WILLNEED: it has no disk to come from. */
static void will_need(void)
{
	const size_t size = 64 << 20;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || madvise(at, size, MADV_WILLNEED))
		die("madvise(MADV_WILLNEED)");
}

/* Never ends: for time-outs. */
static void spin(void)
{
	for (;;)
		number++;
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "nowhere", nowhere },
	{ "null", null_read },
	{ "noncanonical", noncanonical },
	{ "noncanonical_stack", noncanonical_stack },
	{ "kernel", kernel_read },
	{ "stack", stack_overflow },
	{ "text", text_write },
	{ "data_jump", data_jump },
	{ "readonly", readonly_write },
	{ "file_end", past_end_of_file },
	{ "div", divide },
	{ "ill", illegal },
	{ "abort", abort },
	{ "exit", exit_with },
	{ "cat", cat },
	{ "kill", kill_self },
	{ "syscall", unknown_syscall },
	{ "syscalls", syscalls },
	{ "clocks", clocks },
	{ "smc", self_modifying },
	{ "handlers", handlers },
	{ "blocked", blocked_fault },
	{ "oom", out_of_memory },
	{ "spin", spin },
	{ "long_sleep", long_sleep },
	{ "flood", flood },
	{ "short_read", short_read },
	{ "pipe_read", pipe_read },
	{ "will_need", will_need },
};

int main(int argc, char **argv)
{
	if (argc < 2)
		die("usage: faults MODE|code:HEX [NUMBER]");
	argument = argv[2];
	if (argument && argument[0] >= '0' && argument[0] <= '9')
		number = parse_size(argument);
	if (!strncmp(argv[1], "code:", strlen("code:"))) {
		argument = argv[1];
		machine_code();
		return 0;
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(modes[i].name, argv[1])) {
			modes[i].run();
			return 0;
		}
	die("no mode '%s'", argv[1]);
}
