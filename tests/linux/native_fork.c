/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes that fork and use memory as they are told on standard input: the host's kernel as an
 * oracle for ours.  A line is the letter of the process that acts, and what it does; the first is
 * "a".  All processes read all lines, in turn, and print what each returned.
 *
 *	mmap ADDR LENGTH PROT FLAGS FILE | munmap ADDR LENGTH | mprotect ADDR LENGTH PROT
 *	madvise ADDR LENGTH ADVICE | mlock ADDR LENGTH | brk OFFSET | write ADDR BYTE | read ADDR
 *	mremap ADDR OLD NEW FLAGS TO | fork LETTER | exit 0 | report ADDR END
 *
 * Numbers are hexadecimal; brk takes and gives an offset from the first break; FILE is 1 for a
 * file of 16 pages, each of a byte of its own.  report prints VmPTE in kB beyond what such a
 * process has without any of this, and VmLck; then of each VMA in [ADDR, END) start, end, rights,
 * Rss and Anonymous in kB, and of the heap beyond the first break start and end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_PAGES 16
#define HEAP_MAX (1ul << 28)
#define BYTES 256 /* bytes[i] is i, then room for one read back */

struct shared {
	volatile int step;
	volatile long base_child;
};

static char input[1 << 18], text[1 << 18];
static struct shared *shared;
static long base, first_brk;
static int file, bytes;
static char me = 'a';

static size_t slurp(int fd, char *to, size_t size)
{
	size_t length = 0;
	ssize_t got;

	while ((got = read(fd, to + length, size - 1 - length)) > 0)
		length += got;
	to[length] = 0;
	return length;
}

static void slurp_file(const char *path)
{
	int fd = open(path, O_RDONLY);

	slurp(fd, text, sizeof(text));
	close(fd);
}

static long field(const char *from, const char *name)
{
	const char *at = strstr(from, name);

	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

static long vm_pte(void)
{
	slurp_file("/proc/self/smaps");
	slurp_file("/proc/self/status");
	return field(text, "\nVmPTE:");
}

static void out(const char *line)
{
	if (write(1, line, strlen(line)) < 0)
		exit(1);
}

static void report(unsigned long from, unsigned long to)
{
	unsigned long start, end, low = first_brk;
	char line[160], rights[8];
	long pte = vm_pte() - base;

	snprintf(line, sizeof(line), "pte %ld lck %ld\n", pte, field(text, "\nVmLck:"));
	out(line);
	slurp_file("/proc/self/smaps");
	for (char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL) {
		if (sscanf(at, "%lx-%lx %7s", &start, &end, rights) != 3)
			continue;
		if (end > low && start < low + HEAP_MAX)
			snprintf(line, sizeof(line), "heap %lx %lx\n",
				 start > low ? start - low : 0, end - low);
		else if (start >= from && end <= to)
			snprintf(line, sizeof(line), "%lx %lx %s %ld %ld\n", start, end, rights,
				 field(at, "\nRss:"), field(at, "\nAnonymous:"));
		else
			continue;
		out(line);
	}
	out(".\n");
}

static long act(const char *what, const long *v)
{
	if (!strcmp(what, "mmap"))
		return syscall(SYS_mmap, v[0], v[1], v[2], v[3], v[4] ? file : -1, 0);
	if (!strcmp(what, "munmap"))
		return syscall(SYS_munmap, v[0], v[1]);
	if (!strcmp(what, "mprotect"))
		return syscall(SYS_mprotect, v[0], v[1], v[2]);
	if (!strcmp(what, "madvise"))
		return syscall(SYS_madvise, v[0], v[1], v[2]);
	if (!strcmp(what, "mlock"))
		return syscall(SYS_mlock, v[0], v[1]);
	if (!strcmp(what, "mremap"))
		return syscall(SYS_mremap, v[0], v[1], v[2], v[3], v[4]);
	if (!strcmp(what, "brk"))
		return syscall(SYS_brk, first_brk + v[0]) - first_brk;
	if (!strcmp(what, "write"))
		return pread(bytes, (void *)v[0], 1, v[1]);
	if (!strcmp(what, "read")) {
		unsigned char byte;

		if (pwrite(bytes, (void *)v[0], 1, BYTES) != 1 ||
		    pread(bytes, &byte, 1, BYTES) != 1)
			return -1;
		return byte;
	}
	errno = ENOSYS;
	return -1;
}

static void run(char *line)
{
	char what[16] = "", name[8], answer[32];
	long v[5] = { 0 }, ret;

	sscanf(line + 2, "%15s %lx %lx %lx %lx %lx", what, v, v + 1, v + 2, v + 3, v + 4);
	if (!strcmp(what, "report")) {
		report(v[0], v[1]);
		return;
	}
	if (!strcmp(what, "fork")) {
		pid_t pid = fork();

		if (pid < 0)
			exit(1);
		sscanf(line + 2, "%15s %7s", what, name);
		if (!pid) {
			me = name[0];
			base = shared->base_child;
			return;
		}
		out("0\n");
		return;
	}
	if (!strcmp(what, "exit")) {
		out("0\n");
		shared->step++;
		_exit(0);
	}
	errno = 0;
	ret = act(what, v);
	snprintf(answer, sizeof(answer), "%lx\n", ret == -1 && errno ? (long)errno << 56 : ret);
	out(answer);
}

/* What a process needs of itself for a report, each with nothing to report. */
static void measure_bases(void)
{
	if (!fork()) {
		shared->base_child = vm_pte();
		_exit(0);
	}
	wait(NULL);
	base = vm_pte();
}

int main(int argc, char **argv)
{
	int step = 0;

	(void)argc;
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		personality(ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", argv);
		return 1;
	}
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	memset(text, 1, sizeof(text));
	slurp(0, input, sizeof(input));
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	file = memfd_create("file", 0);
	bytes = memfd_create("bytes", 0);
	for (int i = 0; i < FILE_PAGES; i++) {
		memset(text, i + 1, 4096);
		if (write(file, text, 4096) != 4096)
			return 1;
	}
	for (int i = 0; i < BYTES; i++)
		text[i] = i;
	if (write(bytes, text, BYTES) != BYTES)
		return 1;
	first_brk = (syscall(SYS_brk, 0) + 4095) & -4096;
	syscall(SYS_brk, first_brk);
	measure_bases();
	shared->step = 0;
	for (char *line = input, *end; *line; line = end + 1, step++) {
		end = strchrnul(line, '\n');
		if (!*end)
			return 1;
		*end = 0;
		while (shared->step < step)
			sched_yield();
		if (line[0] != me)
			continue;
		run(line);
		/* The child of a fork has nothing more to do in this turn. */
		if (line[0] == me)
			shared->step++;
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
