// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * limits: what resource limits answer and how they bind, one line each, the same on every Linux
 * for an ordinary user.
 * limits populate|advise SIZE: fault SIZE in at once, by MAP_POPULATE or MADV_POPULATE_WRITE.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "guest.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static void *const BAD = (void *)0x1000;

static long say(const char *what, long result)
{
	printf("%s: %ld%s%s\n", what, result, result == -1 ? " " : "",
	       result == -1 ? strerrorname_np(errno) : "");
	return result;
}

static long set(int resource, unsigned long soft, unsigned long hard)
{
	struct rlimit limit = { soft, hard };

	return setrlimit(resource, &limit);
}

/* Lower the soft limit; the hard one stays. */
static void lower(int resource, unsigned long soft)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) || set(resource, soft, limit.rlim_max))
		die("limit %d cannot be set to %lu", resource, soft);
}

static void raise_again(int resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) || set(resource, limit.rlim_max, limit.rlim_max))
		die("limit %d cannot be raised again", resource);
}

static unsigned long vm_kb(const char *key)
{
	static char text[8192];
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t got = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[got > 0 ? got : 0] = 0;
	return status_kb(text, key);
}

static void *map(size_t size, int prot, int flags)
{
	return mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static long mapped(size_t size, int prot, int flags)
{
	void *at = map(size, prot, flags);

	if (at == MAP_FAILED)
		return -1;
	munmap(at, size);
	return 0;
}

static void answers(void)
{
	struct rlimit limit, old;

	say("soft above hard", set(RLIMIT_FSIZE, 2, 1));
	say("lower both", set(RLIMIT_FSIZE, 1 << 20, 1 << 30));
	say("get", getrlimit(RLIMIT_FSIZE, &limit));
	say("soft", (long)limit.rlim_cur);
	say("hard", (long)limit.rlim_max);
	say("raise soft to hard", set(RLIMIT_FSIZE, 1 << 30, 1 << 30));
	say("raise hard", set(RLIMIT_FSIZE, 1 << 20, (1 << 30) + 1));
	limit.rlim_cur = 4096;
	say("prlimit", syscall(SYS_prlimit64, getpid(), RLIMIT_FSIZE, &limit, &old));
	say("old soft", (long)old.rlim_cur);
	say("no such resource", syscall(SYS_setrlimit, 16, &limit));
	say("none to get either", syscall(SYS_getrlimit, 16, &limit));
	say("negative resource", syscall(SYS_prlimit64, 0, -1, NULL, &old));
	say("no such process", syscall(SYS_prlimit64, 999999999, RLIMIT_FSIZE, NULL, &old));
	say("bad new", syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, BAD, &old));
	say("bad new of no process", syscall(SYS_prlimit64, 999999999, RLIMIT_FSIZE, BAD, NULL));
	say("bad old", syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, BAD));
	say("bad old of no resource", syscall(SYS_getrlimit, 16, BAD));
	say("setrlimit bad", syscall(SYS_setrlimit, RLIMIT_FSIZE, BAD));
}

static void address_space(void)
{
	lower(RLIMIT_AS, (vm_kb("\nVmSize:") << 10) + (1 << 20));
	say("AS: 512 KiB", mapped(512 << 10, PROT_NONE, 0));
	say("AS: 2 MiB", mapped(2 << 20, PROT_NONE, 0));
	raise_again(RLIMIT_AS);
	say("AS: 2 MiB later", mapped(2 << 20, PROT_NONE, 0));
}

static void data(void)
{
	char *readonly = map(2 << 20, PROT_READ, 0);

	lower(RLIMIT_DATA, (vm_kb("\nVmData:") << 10) + (1 << 20));
	say("DATA: 2 MiB to read", mapped(2 << 20, PROT_READ, 0));
	say("DATA: 2 MiB to write", mapped(2 << 20, PROT_READ | PROT_WRITE, 0));
	say("DATA: mprotect", mprotect(readonly, 2 << 20, PROT_READ | PROT_WRITE));
	say("DATA: brk", (long)sbrk(2 << 20));
	say("DATA: 512 KiB", mapped(512 << 10, PROT_READ | PROT_WRITE, 0));
	lower(RLIMIT_DATA, 0);
	say("DATA: 0 does not bind", mapped(512 << 10, PROT_READ | PROT_WRITE, 0));
	raise_again(RLIMIT_DATA);
	say("DATA: mprotect later", mprotect(readonly, 2 << 20, PROT_READ | PROT_WRITE));
}

/* A read by the kernel: 0, or -1 with EFAULT. */
static long readable(const void *at)
{
	return syscall(SYS_rt_sigprocmask, SIG_BLOCK, at, NULL, 8);
}

static void stack(void)
{
	char *reserved = map(16 << 20, PROT_NONE, 0), *top = reserved + (16 << 20);

	munmap(reserved, 16 << 20);
	if (mmap(top - PAGE_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("no growing mapping");
	lower(RLIMIT_STACK, 2 << 20);
	say("STACK: 1 MiB down", readable(top - (1 << 20)));
	say("STACK: 3 MiB down", readable(top - (3 << 20)));
	lower(RLIMIT_STACK, 8 << 20);
	say("STACK: 3 MiB down later", readable(top - (3 << 20)));
}

static void memlock(void)
{
	char *at = map(64 << 10, PROT_READ | PROT_WRITE, 0),
	     *hole = map(8 * PAGE_BYTES, PROT_NONE, 0);

	set(RLIMIT_MEMLOCK, 32 << 10, 1 << 20);
	say("MEMLOCK: 32 KiB", mlock(at, 32 << 10));
	say("VmLck", (long)vm_kb("\nVmLck:"));
	say("MEMLOCK: the same again", mlock(at, 32 << 10));
	say("MEMLOCK: more", mlock(at, 36 << 10));
	say("MEMLOCK: MAP_LOCKED", mapped(4096, PROT_READ, MAP_LOCKED));
	say("MADV_DONTNEED of what is locked", madvise(at, PAGE_BYTES, MADV_DONTNEED));
	say("munlock a part", munlock(at, 16 << 10));
	say("VmLck", (long)vm_kb("\nVmLck:"));
	say("MEMLOCK: MAP_LOCKED", mapped(4096, PROT_READ, MAP_LOCKED));
	say("mlock of PROT_NONE", mlock(hole, PAGE_BYTES));
	say("VmLck", (long)vm_kb("\nVmLck:"));
	munmap(hole + PAGE_BYTES, PAGE_BYTES);
	say("mlock over a hole", mlock(hole, 3 * PAGE_BYTES));
	say("mlock2 flags", syscall(SYS_mlock2, at, PAGE_BYTES, 2));
	say("mlock2 on fault", syscall(SYS_mlock2, at + (60 << 10), PAGE_BYTES, 1));
	say("mlockall beyond", mlockall(MCL_CURRENT));
	say("mlockall nothing", mlockall(0));
	say("mlockall on fault alone", mlockall(MCL_ONFAULT));
	say("mlockall future", mlockall(MCL_FUTURE));
	say("mmap is locked then", mapped(32 << 10, PROT_READ, 0));
	say("munlockall", munlockall());
	say("VmLck", (long)vm_kb("\nVmLck:"));
	lower(RLIMIT_MEMLOCK, 0);
	say("MEMLOCK 0: mlock", mlock(at, PAGE_BYTES));
	say("MEMLOCK 0: MAP_LOCKED", mapped(4096, PROT_READ, MAP_LOCKED));
	say("MEMLOCK 0: munlock", munlock(at, PAGE_BYTES));
}

static void nofile(void)
{
	static char text[8192];
	int first = open("/proc/self/status", O_RDONLY),
	    second = open("/proc/self/status", O_RDONLY), fd;
	ssize_t got;
	char *line;

	lower(RLIMIT_NOFILE, (unsigned long)second);
	say("NOFILE: open", open("/proc/self/status", O_RDONLY));
	say("NOFILE: what is open stays", read(second, text, 5));
	say("NOFILE: dup2", dup2(first, second + 1));
	close(first);
	fd = open("/proc/self/limits", O_RDONLY);
	say("NOFILE: a lower number", fd == first);
	got = read(fd, text, sizeof(text) - 1);
	text[got > 0 ? got : 0] = 0;
	line = strstr(text, "Max open files");
	printf("%.35s\n", line ? line : "no line");
	lower(RLIMIT_NOFILE, 16);
}

static volatile sig_atomic_t xcpu;

static void on_xcpu(int signo)
{
	xcpu = signo;
}

/* A child that computes until a signal ends it: which one. */
static long ended_by(unsigned long soft, unsigned long hard, bool handles)
{
	int status;
	pid_t child = fork();

	if (!child) {
		if (handles)
			signal(SIGXCPU, on_xcpu);
		set(RLIMIT_CPU, soft, hard);
		while (!xcpu)
			;
		_exit(7);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -2 - WEXITSTATUS(status);
}

static void cpu_time(void)
{
	struct rlimit limit = { 5, 7 }, old;
	int status, ready[2];
	char byte;
	pid_t child;

	say("CPU: soft 0", ended_by(0, RLIM_INFINITY, false));
	say("CPU: soft 0, handled", ended_by(0, RLIM_INFINITY, true));
	say("CPU: hard 0", ended_by(0, 0, true));
	if (pipe(ready))
		die("no pipe");
	child = fork();
	if (!child) {
		close(ready[1]);
		_exit(read(ready[0], &byte, 1) ? 9
					       : getrlimit(RLIMIT_CPU, &old) || old.rlim_cur != 5 ||
							 old.rlim_max != 7);
	}
	say("prlimit of a child", syscall(SYS_prlimit64, child, RLIMIT_CPU, &limit, &old));
	limit.rlim_cur = 8;
	say("prlimit of a child: soft above hard",
	    syscall(SYS_prlimit64, child, RLIMIT_CPU, &limit, NULL));
	close(ready[1]);
	waitpid(child, &status, 0);
	say("the child's limits are those", status);
}

static void processes(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		lower(RLIMIT_NPROC, 1);
		say("NPROC: fork", fork());
		_exit(0);
	}
	waitpid(child, &status, 0);
	say("NPROC: in a child only", status);
}

int main(int argc, char **argv)
{
	if (argc > 2) {
		size_t size = parse_size(argv[2]);
		bool advise = !strcmp(argv[1], "advise");
		void *at = map(size, PROT_READ | PROT_WRITE,
			       MAP_NORESERVE | (advise ? 0 : MAP_POPULATE));

		if (at == MAP_FAILED || (advise && madvise(at, size, MADV_POPULATE_WRITE)))
			die("%s failed", argv[1]);
		return 0;
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	cpu_time();
	processes();
	answers();
	address_space();
	data();
	stack();
	memlock();
	nofile();
	return 0;
}
