// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One file, read, written, mapped, cut off and made longer at random by two processes; after each
 * step the file's sum, as read and as mapped. Arguments: a seed, and the number of steps.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096L
#define PAGES 24L
#define MOST (PAGES * PAGE)

static unsigned long state;
static long size;
static char buffer[MOST], again[MOST];
static char *map[3]; /* shared, shared of another open file, private */
static int fd, other;

static long below(long n)
{
	state = state * 6364136223846793005 + 1442695040888963407;
	return n > 0 ? (long)((state >> 33) % (unsigned long)n) : 0;
}

static unsigned long sum(const char *p, long n)
{
	unsigned long h = 5381;

	while (n-- > 0)
		h = h * 33 + *(const unsigned char *)p++;
	return h;
}

static void map_all(void)
{
	map[0] = mmap(NULL, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	map[1] = mmap(NULL, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	map[2] = mmap(NULL, MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
}

static void unmap_all(void)
{
	for (int i = 0; i < 3; i++)
		munmap(map[i], MOST);
}

static void fill(char *at, long n)
{
	memset(at, 'a' + (int)below(26), n);
}

/* Which byte comes first when a file is copied over itself is nobody's promise. */
static int apart(long a, long b, long n)
{
	return labs(a - b) >= n + PAGE;
}

/* Write n bytes at a place, from a buffer, from the file's own mapping, or by several vectors. */
static long write_some(long at, long n)
{
	struct iovec v[3];
	long from = below(size - n + 1);

	switch (below(3)) {
	case 0:
		fill(buffer, n);
		return pwrite(below(2) ? fd : other, buffer, n, at);
	case 1:
		if (from + n > size || !apart(from, at, n))
			return -2;
		return pwrite(fd, map[below(3)] + from, n, at);
	default:
		fill(buffer, n);
		v[0] = (struct iovec){ buffer, n / 3 };
		v[1] = (struct iovec){ buffer + n / 3, n / 3 };
		v[2] = (struct iovec){ buffer + n / 3 * 2, n - n / 3 * 2 };
		return pwritev(other, v, 3, at);
	}
}

static void in_child(long at, long n)
{
	pid_t pid = fork();

	if (!pid) {
		memset(map[below(2)] + at, 'C', n);
		pwrite(other, "child", at + 5 < size ? 5 : 1, at);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static long step(long what)
{
	long at = below(size), n = below(size - at < 9000 ? size - at : 9000) + 1, i;

	switch (what) {
	case 0:
	case 1:
		at = below(MOST - 9000);
		n = write_some(at, below(9000) + 1);
		if (n > 0 && at + n > size)
			size = at + n;
		return n;
	case 2:
		i = below(size);
		return apart(i, at, n) ? pread(fd, map[below(3)] + at, n, i) : -2;
	case 3:
	case 4:
		if (at + n <= size)
			fill(map[below(2)] + at, n);
		return n;
	case 5:
		if (at + n <= size)
			fill(map[2] + at, n);
		return n;
	case 6:
		size = below(MOST) + 1;
		return ftruncate(below(2) ? fd : other, size);
	case 7:
		return msync(map[below(2)], MOST, below(2) ? MS_SYNC : MS_ASYNC);
	case 8:
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n);
	case 9:
		if (below(4))
			return fsync(fd);
		unmap_all();
		map_all();
		return 0;
	case 10:
		unmap_all();
		close(fd);
		close(other);
		fd = open("random", O_RDWR);
		other = open("random", O_RDWR);
		map_all();
		return 0;
	case 11:
		if (at + n <= size)
			in_child(at, n);
		return n;
	case 12:
		i = below(2);
		mprotect(map[i], MOST, PROT_READ);
		mprotect(map[i], MOST, PROT_READ | PROT_WRITE);
		return i;
	default:
		i = below(MOST - 9000);
		n = fallocate(fd, below(2) ? FALLOC_FL_KEEP_SIZE : 0, i, 9000);
		size = lseek(fd, 0, SEEK_END);
		return n;
	}
}

int main(int argc, char **argv)
{
	long steps = argc > 2 ? atol(argv[2]) : 100;

	state = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	unlink("random");
	fd = open("random", O_RDWR | O_CREAT | O_TRUNC, 0600);
	other = open("random", O_RDWR);
	if (fd < 0 || other < 0)
		return 1;
	size = 3 * PAGE + 77;
	fill(buffer, size);
	pwrite(fd, buffer, size, 0);
	map_all();
	while (steps--) {
		long what = below(14), result = step(what);
		long n = pread(other, again, MOST, 0);

		printf("%ld: %ld, %ld bytes, %lx %lx %lx\n", what, result, n, sum(again, n),
		       sum(map[0], n), sum(map[2], n));
		if (n != size || memcmp(again, map[1], n))
			printf("not as mapped: %ld\n", size);
	}
	return 0;
}
