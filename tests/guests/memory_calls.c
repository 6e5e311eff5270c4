// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory calls that programs make seldom, and what /proc says of memory: a line is a call and its
 * answer. Each call stands beside its errors. */
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
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHARED (MAP_SHARED | MAP_ANONYMOUS)
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103
#define KERNEL_TOP ((void *)0xfffffffffffff000)
#define ABOVE_USER ((void *)0x7ffffffff000)

static unsigned char vec[2048];
static char text[1 << 16];

static long say(const char *what, long result)
{
	if (result == -1)
		printf("%s = -1 %s\n", what, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, result);
	return result;
}
#define SAY(call) say(#call, (long)(call))

static char *map(size_t pages, int prot, int flags)
{
	char *p = mmap(NULL, pages * PAGE, prot, flags, -1, 0);

	if (p == MAP_FAILED)
		exit(3);
	return p;
}

static void touch(char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 1;
}

static void look(const char *what, char *p, size_t pages)
{
	long result = mincore(p, pages * PAGE, vec);

	say(what, result);
	for (size_t i = 0; !result && i < pages; i++)
		putchar('0' + (vec[i] & 1));
	putchar('\n');
}

static void mincores(void)
{
	char *p = map(8, RW, ANON), *s = map(8, RW, SHARED);

	look("fresh", p, 8);
	touch(p + PAGE, 3);
	look("written", p, 8);
	(void)*(volatile char *)(p + 6 * PAGE);
	look("read", p, 8);
	mprotect(p, 2 * PAGE, PROT_NONE);
	look("without rights", p, 8);
	madvise(p + 2 * PAGE, PAGE, MADV_DONTNEED);
	look("dropped", p, 8);
	madvise(p + 4 * PAGE, PAGE, GUARD_INSTALL);
	look("guarded", p, 8);
	touch(s, 2);
	fflush(stdout);
	if (!fork()) {
		look("shared, of the parent", s, 8);
		touch(s + 5 * PAGE, 1);
		fflush(stdout);
		_exit(0);
	}
	fflush(stdout);
	wait(NULL);
	look("shared, of the child too", s, 8);
	SAY(munmap(p + 5 * PAGE, PAGE));
	memset(vec, 7, sizeof(vec));
	SAY(mincore(p, 8 * PAGE, vec));
	SAY(vec[0] | vec[4] << 8 | vec[5] << 16);
	SAY(mincore(p + 1, PAGE, vec));
	SAY(mincore(p, 0, vec));
	SAY(mincore(p, 1, vec));
	SAY(mincore(p, PAGE, (void *)8));
	SAY(mincore(p, PAGE, KERNEL_TOP));
	SAY(mincore(KERNEL_TOP, PAGE, vec));
	SAY(mincore(ABOVE_USER, PAGE, vec));
	SAY(mincore(p, -PAGE, vec));
}

static int seal(void *p, size_t n, long flags)
{
	return (int)syscall(462, p, n, flags);
}

static void seals(void)
{
	char *p = map(16, RW, ANON), *s = map(4, RW, SHARED);

	touch(p, 16);
	SAY(seal(p + 1, PAGE, 0));
	SAY(seal(p, PAGE, 1));
	SAY(seal(p, -1UL, 0));
	SAY(seal(p, 0, 0));
	SAY(seal(KERNEL_TOP, PAGE, 0));
	SAY(munmap(p + 8 * PAGE, PAGE));
	SAY(seal(p, 10 * PAGE, 0));
	SAY(mprotect(p, PAGE, PROT_READ));
	SAY(mprotect(p, PAGE, RW));
	SAY(seal(p + 2 * PAGE, 4 * PAGE, 0));
	SAY(seal(p + 2 * PAGE, 4 * PAGE, 0));
	SAY(munmap(p + 2 * PAGE, PAGE));
	SAY(munmap(p + PAGE, 2 * PAGE));
	SAY(munmap(p, 8 * PAGE));
	SAY(mprotect(p + 2 * PAGE, PAGE, PROT_READ));
	SAY(mprotect(p + 2 * PAGE, PAGE, RW));
	SAY(mprotect(p + PAGE, 2 * PAGE, PROT_READ));
	SAY(mremap(p + 2 * PAGE, 2 * PAGE, PAGE, 0) == MAP_FAILED ? -1 : 0);
	SAY(mremap(p + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
	SAY(mmap(p + 3 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) == MAP_FAILED ? -1 : 0);
	SAY(madvise(p + 2 * PAGE, PAGE, MADV_DONTNEED));
	SAY(madvise(p + 3 * PAGE, PAGE, MADV_FREE));
	SAY(madvise(p + 3 * PAGE, PAGE, MADV_DONTFORK));
	SAY(madvise(p + 3 * PAGE, PAGE, MADV_DOFORK));
	mprotect(p + 12 * PAGE, 2 * PAGE, PROT_READ);
	SAY(seal(p + 12 * PAGE, 2 * PAGE, 0));
	SAY(madvise(p + 12 * PAGE, PAGE, MADV_DONTNEED));
	SAY(madvise(p + 11 * PAGE, 3 * PAGE, MADV_DONTNEED));
	SAY(madvise(p + 12 * PAGE, PAGE, MADV_DONTNEED_LOCKED));
	SAY(madvise(p + 12 * PAGE, PAGE, MADV_FREE));
	SAY(madvise(p + 12 * PAGE, PAGE, GUARD_INSTALL));
	SAY(madvise(p + 12 * PAGE, PAGE, MADV_WIPEONFORK));
	SAY(madvise(p + 12 * PAGE, PAGE, MADV_COLD));
	SAY(madvise(p + 12 * PAGE, PAGE, MADV_DONTDUMP));
	SAY(madvise(p + 12 * PAGE, PAGE, MADV_WILLNEED));
	SAY(mlock(p + 12 * PAGE, PAGE));
	SAY(munlock(p + 12 * PAGE, PAGE));
	SAY(p[11 * PAGE] + p[12 * PAGE] * 2);
	mprotect(s, 4 * PAGE, PROT_READ);
	SAY(seal(s, 4 * PAGE, 0));
	SAY(madvise(s, PAGE, MADV_DONTNEED));
}

static void file_pages(void)
{
	char *s = map(8, RW, SHARED), *p = map(8, RW, ANON);

	for (int i = 0; i < 8; i++)
		s[i * PAGE] = (char)('a' + i);
	SAY(remap_file_pages(s, PAGE, 0, 5, 0));
	SAY(s[0]);
	SAY(remap_file_pages(s + PAGE, 2 * PAGE, 0, 6, 0));
	printf("%c%c%c%c\n", s[0], s[PAGE], s[2 * PAGE], s[3 * PAGE]);
	s[0] = 'X';
	SAY(s[5 * PAGE]);
	SAY(remap_file_pages(s, 4 * PAGE, 0, 2, MAP_NONBLOCK));
	printf("%c%c%c%c\n", s[0], s[PAGE], s[2 * PAGE], s[3 * PAGE]);
	SAY(remap_file_pages(s, PAGE, PROT_READ, 0, 0));
	SAY(remap_file_pages(s, 0, 0, 0, 0));
	SAY(remap_file_pages(s, -PAGE, 0, 0, 0));
	SAY(remap_file_pages(p, PAGE, 0, 0, 0));
	SAY(remap_file_pages(s + 100, PAGE, 0, 7, 0));
	SAY(s[0]);
	SAY(remap_file_pages(s, 64 * PAGE, 0, 0, 0));
	SAY(munmap(s + 6 * PAGE, PAGE));
	SAY(remap_file_pages(s + 5 * PAGE, 3 * PAGE, 0, 0, 0));
	SAY(remap_file_pages(s + 6 * PAGE, PAGE, 0, 0, 0));
}

static void advices(void)
{
	char *p = map(64, RW, ANON);
	struct iovec v[4] = {
		{ p, 4 * PAGE }, { p + 8 * PAGE, 0 }, { p + 8 * PAGE, 4 * PAGE }, { p + 1, PAGE }
	};
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0), ready[2];
	pid_t child;

	touch(p, 64);
	SAY(syscall(440, self, v, 3, MADV_DONTNEED, 0));
	look("after it", p, 14);
	touch(p, 64);
	SAY(syscall(440, -10000, v, 3, MADV_FREE, 0));
	SAY(syscall(440, -10001, v, 3, MADV_COLD, 0));
	SAY(syscall(440, self, v, 4, MADV_DONTNEED, 0));
	SAY(syscall(440, self, v + 3, 1, MADV_DONTNEED, 0));
	SAY(syscall(440, self, v, 0, MADV_DONTNEED, 0));
	SAY(syscall(440, self, v, 1025, MADV_DONTNEED, 0));
	SAY(syscall(440, self, v, 3, MADV_DONTNEED, 1));
	SAY(syscall(440, self, v, 3, 77, 0));
	SAY(syscall(440, self, (void *)8, 3, MADV_DONTNEED, 0));
	SAY(syscall(440, 0, v, 3, MADV_DONTNEED, 0));
	SAY(syscall(440, 99, v, 3, MADV_DONTNEED, 0));
	SAY(syscall(440, -3, v, 3, MADV_DONTNEED, 0));
	SAY(pipe(ready));
	child = fork();
	if (!child) {
		close(ready[1]);
		read(ready[0], text, 1);
		_exit(0);
	}
	int other = (int)syscall(SYS_pidfd_open, child, 0);

	SAY(syscall(440, other, v, 3, MADV_DONTNEED, 0));
	SAY(syscall(440, other, v, 3, MADV_COLD, 0));
	SAY(syscall(448, other, 0));
	SAY(syscall(448, other, 1));
	SAY(syscall(448, 99, 0));
	close(ready[1]);
	waitpid(child, NULL, 0);
	SAY(syscall(448, other, 0));
	SAY(syscall(440, other, v, 3, MADV_COLD, 0));
	SAY(syscall(SYS_pkey_alloc, 0, 0));
	SAY(syscall(SYS_pkey_alloc, 1, 0));
	SAY(syscall(SYS_pkey_free, 0));
	SAY(syscall(SYS_pkey_free, 1));
	SAY(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, -1));
	SAY(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, 0));
	SAY(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, 1));
	SAY(syscall(SYS_pkey_mprotect, p + 1, PAGE, PROT_READ, 1));
	SAY(syscall(SYS_pkey_mprotect, p, 0, PROT_READ, 1));
}

static int slurp(const char *path)
{
	int fd = open(path, O_RDONLY), n = 0, r;

	if (fd < 0)
		return -1;
	while (n < (int)sizeof(text) - 1 && (r = (int)read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += r;
	close(fd);
	text[n] = 0;
	return n;
}

/* The lines of smaps that are p's, without those addresses. */
static void smaps(const char *what, char *p)
{
	char start[32], *at;

	slurp("/proc/self/smaps");
	snprintf(start, sizeof(start), "%08lx-", (unsigned long)p);
	at = strstr(text, start);
	printf("%s:\n", what);
	if (!at)
		return;
	at = strstr(at, "Size:");
	char *end = strstr(at, "VmFlags:");

	end = strchr(end, '\n');
	*end = 0;
	puts(at);
}

static void pages(const char *what, char *p, int n)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t word[32];

	printf("%s: %zd\n", what, pread(fd, word, 8 * n, (off_t)((unsigned long)p / PAGE * 8)));
	for (int i = 0; i < n; i++)
		printf(" %#lx", (unsigned long)(word[i] & 0xffff000000000000));
	putchar('\n');
	close(fd);
}

static void proc(void)
{
	char *p = map(512, RW, ANON), *s = map(16, RW, SHARED), *q;
	int fd;
	uint64_t word[4];

	mmap(p - PAGE, PAGE, PROT_NONE, ANON, -1, 0);
	smaps("fresh", p);
	touch(p, 10);
	(void)*(volatile char *)(p + 20 * PAGE);
	madvise(p + 2 * PAGE, 3 * PAGE, MADV_FREE);
	madvise(p + 8 * PAGE, PAGE, GUARD_INSTALL);
	madvise(s, PAGE,
		MADV_COLD); /* the host counts lazily free pages when it has drained its lists */
	smaps("written", p);
	pages("pagemap", p, 24);
	touch(s, 5);
	smaps("shared", s);
	pages("pagemap", s, 8);
	SAY(mlock(s, 8 * PAGE));
	smaps("locked", s);
	fflush(stdout);
	if (!fork()) {
		smaps("child", p);
		pages("child", p, 8);
		p[PAGE] = 2;
		smaps("after a copy", p);
		smaps("child, shared", s);
		(void)*(volatile char *)(s + PAGE);
		smaps("child, shared and seen", s);
		pages("child, shared and seen", s, 8);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	smaps("alone again", p);
	fd = open("/proc/self/clear_refs", O_WRONLY);
	SAY(write(fd, "1", 1));
	smaps("not referenced", p);
	(void)*(volatile char *)p;
	smaps("one page referenced", p);
	SAY(write(fd, "0\n", 2));
	SAY(write(fd, "6", 1));
	SAY(write(fd, "x", 1));
	SAY(write(fd, " 3 ", 3));
	SAY(write(fd, "4", 1));
	close(fd);
	fd = open("/proc/self/pagemap", O_RDONLY);
	SAY(pread(fd, word, 7, 0));
	SAY(pread(fd, word, 8, 4));
	SAY(pread(fd, word, 16, 0x7fffffffeUL * 8));
	SAY(pread(fd, word, 16, 0x7ffffffffUL * 8));
	SAY(lseek(fd, 24, SEEK_SET));
	SAY(read(fd, word, 24));
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(lseek(fd, 0, SEEK_END));
	close(fd);
	q = map(4, RW, ANON | MAP_NORESERVE);
	mmap(q - PAGE, PAGE, PROT_NONE, ANON, -1, 0);
	smaps("no reserve", q);
	madvise(q, 4 * PAGE, MADV_RANDOM);
	madvise(q, 4 * PAGE, MADV_DONTFORK);
	madvise(q, 4 * PAGE, MADV_WIPEONFORK);
	madvise(q, 4 * PAGE, MADV_DONTDUMP);
	madvise(q, 4 * PAGE, MADV_NOHUGEPAGE);
	madvise(q, 4 * PAGE, MADV_MERGEABLE);
	mlock2(q, 4 * PAGE, 1);
	syscall(462, q, 4 * PAGE, 0);
	smaps("all flags", q);
}

static void numa(void)
{
	char *p = map(8, RW, ANON);
	unsigned long one[16] = { 1 }, two[16] = { 2 }, none[16] = { 0 }, mask[64];
	void *at[5] = { p, p + PAGE, p + 2 * PAGE, (void *)4096, (void *)-1UL };
	int mode = 77, status[5], zero[5] = { 0 }, bad[5] = { 0, 3 };

	p[0] = 1;
	(void)*(volatile char *)(p + PAGE);
#define GET(mask, max, addr, flags) \
	(mode = 77, syscall(SYS_get_mempolicy, &mode, mask, max, addr, flags))
	SAY(GET(NULL, 0, NULL, 0));
	SAY(mode);
	memset(mask, 0xff, sizeof(mask));
	SAY(GET(mask, 1024, NULL, 4));
	SAY(mode | mask[0] << 8 | (mask[16] & 1) << 40);
	SAY(GET(mask, 0, NULL, 0));
	SAY(GET(mask, 1, NULL, 0));
	SAY(GET(mask, 1024, NULL, 5));
	SAY(GET(mask, 1024, NULL, 8));
	SAY(GET(mask, 1024, p, 0));
	SAY(GET(mask, 1024, p, 2));
	SAY(GET(mask, 1024, p, 3));
	SAY(mode);
	SAY(GET(mask, 1024, (void *)4096, 2));
	SAY(GET(mask, 1024, NULL, 1));
	SAY(GET((void *)8, 1024, NULL, 0));
	SAY(GET(mask, 4000, NULL, 0));
	SAY(GET(mask, 40000, NULL, 0));
	SAY(syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0));
#define SET(mode, mask, max) syscall(SYS_set_mempolicy, mode, mask, max)
	for (int m = -1; m < 9; m++)
		printf("%d: %ld %ld %ld %ld\n", m, SET(m, one, 1025), SET(m, two, 1025),
		       SET(m, none, 1025), SET(m, NULL, 0));
	for (int m = 0; m < 7; m++)
		printf("flags %d: %ld %ld %ld %ld\n", m, SET(m | 1 << 15, one, 1025),
		       SET(m | 1 << 14, two, 1025), SET(m | 3 << 14, one, 1025),
		       SET(m | 1 << 13, one, 1025));
	SAY(SET(3, one, 1025));
	SAY(GET(mask, 1024, NULL, 0));
	SAY(mode << 8 | mask[0]);
	SAY(GET(NULL, 0, NULL, 1));
	SAY(mode);
	SAY(SET(2 | 1 << 15, one, 1025));
	SAY(GET(mask, 1024, NULL, 0));
	SAY(mode << 8 | mask[0]);
	SAY(SET(2, (void *)8, 1025));
	SAY(SET(2, one, 100000));
	SAY(SET(0, NULL, 0));
#define MOVE(n, pages, nodes, status, flags) \
	syscall(SYS_move_pages, 0, n, pages, nodes, status, flags)
	SAY(MOVE(5, at, NULL, status, 0));
	for (int i = 0; i < 5; i++)
		printf(" %d", status[i]);
	putchar('\n');
	SAY(MOVE(1, at, zero, status, 2));
	SAY(status[0]);
	SAY(MOVE(2, at, bad, status, 2));
	SAY(MOVE(1, at, NULL, status, 1));
	SAY(MOVE(1, at, NULL, status, 4));
	SAY(MOVE(0, at, NULL, status, 0));
	SAY(MOVE(1, (void *)8, NULL, status, 0));
	SAY(MOVE(1, at, NULL, (void *)8, 0));
	SAY(syscall(SYS_move_pages, 999999, 1, at, NULL, status, 0));
	SAY(syscall(SYS_migrate_pages, 0, 1025, one, one));
	SAY(syscall(SYS_migrate_pages, 0, 1025, one, two));
	SAY(syscall(SYS_migrate_pages, 0, 1025, one, none));
	SAY(syscall(SYS_migrate_pages, 999999, 1025, one, one));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc < 2 || !strcmp(argv[1], "mincore"))
		mincores();
	if (argc < 2 || !strcmp(argv[1], "mseal"))
		seals();
	if (argc < 2 || !strcmp(argv[1], "file_pages"))
		file_pages();
	if (argc < 2 || !strcmp(argv[1], "advice"))
		advices();
	if (argc < 2 || !strcmp(argv[1], "proc"))
		proc();
	if (argc < 2 || !strcmp(argv[1], "numa"))
		numa();
	return 0;
}
