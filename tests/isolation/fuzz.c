// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Cases of nonsense, each in a process of its own: random bytes as code, or random system calls
 * with random and with plausible arguments.
 *
 * fuzz code|calls SEED CASES PID PATH...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS 24      /* of one case */
#define CODE_SIZE 256 /* bytes */
#define NR_SYSCALLS 472
#define PATIENCE 4 /* milliseconds of the machine's */

static uint64_t state;
static char **paths;
static int nr_paths;
static long other_process;
static char *memory; /* two pages, and two that are read-only, and two that are not there */

static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void seed(uint64_t number, uint64_t nr_case)
{
	state = (number * 0x9e3779b97f4a7c15 + nr_case) * 0xbf58476d1ce4e5b9 | 1;
	for (int i = 0; i < 10; i++)
		draw();
}

static long one_of(const long *values, int count)
{
	return values[draw() % count];
}

static long argument(void)
{
	static const long
		odd[] = { -1,	    1L << 63,	INT64_MAX,  1L << 47, (1L << 47) - 4096,
			  1L << 31, 0x7fffffff, 0xffffffff, -4096,    -100 /* AT_FDCWD */ };
	static const long sizes[] = { 1, 8, 16, 24, 64, 128, 144, 512, 4096, 8192, 65536, 1 << 20 };

	switch (draw() % 12) {
	case 0:
		return 0;
	case 1:
		return draw() % 12; /* a descriptor, or something small */
	case 2:
	case 3:
		return (long)memory + draw() % 4096;
	case 4:
		return (long)memory + (draw() % 6 << 12) - draw() % 16;
	case 5:
	case 6:
		return (long)paths[draw() % nr_paths];
	case 7:
		return one_of(sizes, 12);
	case 8:
		return one_of(odd, 10);
	case 9:
		return draw() & draw() & 0xfffff; /* flags */
	case 10:
		return draw() & 1 ? getpid() : other_process;
	default:
		return draw();
	}
}

/* Calls by which the case would end those that watch it, or wait for them. */
static int is_spared(long nr, long *args)
{
	switch (nr) {
	case SYS_kill:
	case SYS_tgkill:
	case SYS_tkill:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo:
		args[0] = draw() & 1 ? getpid() : other_process;
		return 0;
	case SYS_pidfd_send_signal:
	case SYS_prlimit64:
	case SYS_setpgid:
		return 1;
	default:
		return 0;
	}
}

static void calls(void)
{
	int p[2];

	(void)!pipe2(p, O_NONBLOCK);
	(void)!open(paths[draw() % nr_paths], draw() & 0xfff, 0777);
	(void)!open("/tmp/file", O_RDWR | O_CREAT, 0666);
	(void)!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p);
	(void)!memfd_create("m", 0);
	for (int i = 0; i < CALLS; i++) {
		long nr = draw() % NR_SYSCALLS, args[6];

		for (int j = 0; j < 4096; j += 8)
			if (!(draw() % 4))
				*(uint64_t *)(memory + j) = argument();
		for (int j = 0; j < 6; j++)
			args[j] = argument();
		if (!is_spared(nr, args))
			syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	}
}

static void code(void)
{
	unsigned char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < CODE_SIZE; i++)
		at[i] = draw();
	if (draw() & 1) { /* begin with what is more than one byte */
		static const unsigned char begin[] = { 0x0f, 0x66, 0xf2, 0xf3, 0x48, 0xc4,
						       0xc5, 0x62, 0x8f, 0xf0, 0xd9, 0xdd };

		for (int i = 0; i < 8; i++)
			at[i * 9] = begin[draw() % sizeof(begin)];
	}
	long a = argument(), b = argument(), c = argument(), d = argument();

	__asm__ volatile("call *%%rax"
			 :
			 : "a"(at), "b"(a), "c"(b), "d"(c), "S"(d), "D"(memory)
			 : "memory", "cc", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
}

static void wait_a_while(pid_t pid)
{
	const struct timespec moment = { 0, 1000000 };

	for (int i = 0; i < PATIENCE; i++) {
		if (waitpid(pid, NULL, WNOHANG))
			return;
		nanosleep(&moment, NULL);
	}
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	if (argc < 6)
		return 2;
	uint64_t number = strtoull(argv[2], NULL, 0);
	int count = atoi(argv[3]);

	other_process = atol(argv[4]);
	paths = argv + 5;
	nr_paths = argc - 5;
	memory = mmap(NULL, 6 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(memory + 2 * 4096, 2 * 4096, PROT_READ);
	munmap(memory + 4 * 4096, 2 * 4096);
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (!pid) {
			setpgid(0, 0);
			seed(number, i);
			if (argv[1][1] == 'o')
				code();
			else
				calls();
			_exit(0);
		}
		if (pid > 0)
			wait_a_while(pid);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	char line[40];
	int length = snprintf(line, sizeof(line), "\n%d cases\n", count);

	return write(1, line, length) != length;
}
