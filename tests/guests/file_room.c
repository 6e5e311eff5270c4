// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk of 4 MiB, which fills up: each line is a call and its answer. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1L << 20)

static char buffer[3 * MIB];
static sigjmp_buf escape;

static long say(const char *what, long result)
{
	if (result == -1)
		printf("%s = -1 %s\n", what, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, result);
	return result;
}
#define SAY(call) say(#call, (long)(call))

static void caught(int signo)
{
	siglongjmp(escape, signo);
}

/* How many pages of a mapping can be written before the disk is full. */
static int pages_that_fit(char *at, int pages)
{
	volatile int i = 0;

	if (sigsetjmp(escape, 1))
		return i;
	for (; i < pages; i++)
		at[i * 4096L] = 'x';
	return i;
}

/* What is dirty in several files is counted together: at most the disk's 1024 pages. */
static void fit_together(const char *directory, long size)
{
	int fit = 0;

	for (int i = 0; i < 4; i++) {
		char name[32];
		char *map;
		int fd;

		snprintf(name, sizeof name, "%stogether%d", directory, i);
		fd = open(name, O_RDWR | O_CREAT, 0600);
		ftruncate(fd, size);
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		fit += pages_that_fit(map, size / 4096);
		unlink(name);
	}
	printf("%s: %s\n", directory, fit <= 1024 ? "no more than fit" : "too many");
}

int main(void)
{
	int fd, i, done = 0;
	char *map;

	memset(buffer, 'b', sizeof buffer);
	signal(SIGBUS, caught);
	for (i = 0; i < 20; i++) {
		fd = open("again", O_RDWR | O_CREAT | O_EXCL, 0600);
		done += write(fd, buffer, MIB) == MIB;
		close(fd);
		unlink("again");
	}
	SAY(done);
	fd = open("open", O_RDWR | O_CREAT, 0600);
	unlink("open");
	SAY(write(fd, buffer, 3 * MIB));
	SAY(write(fd, buffer, 3 * MIB) < 3 * MIB);
	SAY(write(fd, buffer, MIB));
	SAY(pwrite(fd, buffer, MIB, 0));
	SAY(ftruncate(fd, 0));
	SAY(write(fd, buffer, MIB) == MIB);
	close(fd);
	fd = open("map", O_RDWR | O_CREAT, 0600);
	SAY(ftruncate(fd, 64 * MIB));
	SAY(fallocate(fd, 0, 0, 8 * MIB));
	map = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	i = pages_that_fit(map, 2048);
	SAY(i > 900 && i <= 1024);
	SAY(ftruncate(fd, 0));
	SAY(munmap(map, 8 * MIB));
	SAY(write(fd, buffer, 3 * MIB));
	SAY(ftruncate(fd, 0));
	close(fd);
	fit_together("./", 2 * MIB);
	fit_together("/dev/shm/", 2 * MIB);
	return 0;
}
