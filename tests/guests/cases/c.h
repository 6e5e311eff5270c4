/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small helpers of the cases: figures from /proc/self, relative to a baseline. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#define K 1024UL
#define M (K * K)
#define G (M * K)
#define PAGE 4096UL
static char filebuf[1 << 16];
static void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (write(1, line, n) < 0)
		_exit(99);
}
static int slurp(const char *path)
{
	int fd = open(path, O_RDONLY), n = 0, r;
	if (fd < 0)
		return -1;
	while (n < (int)sizeof filebuf - 1 &&
	       (r = read(fd, filebuf + n, sizeof filebuf - 1 - n)) > 0)
		n += r;
	close(fd);
	filebuf[n] = 0;
	return n;
}
static long field(const char *name)
{
	char *at = strstr(filebuf, name);
	return at ? atol(at + strlen(name)) : -1;
}
static char mapsbuf[1 << 16];
static long nmaps(void)
{
	char *buf = mapsbuf;
	int fd = open("/proc/self/maps", O_RDONLY), r;
	long n = 0;
	if (fd < 0)
		return -1;
	while ((r = read(fd, buf, sizeof mapsbuf)) > 0)
		for (int i = 0; i < r; i++)
			n += buf[i] == '\n';
	close(fd);
	return n;
}
static struct stats {
	long size, rss, anon, file, shmem, pte, lck, swap, hwm, peak, maps;
} base;
static struct stats now(void)
{
	struct stats s;
	if (slurp("/proc/self/status") < 0) {
		say("no /proc/self/status: %s\n", strerror(errno));
		_exit(98);
	}
	s.size = field("VmSize:");
	s.rss = field("VmRSS:");
	s.anon = field("RssAnon:");
	s.file = field("RssFile:");
	s.shmem = field("RssShmem:");
	s.pte = field("VmPTE:");
	s.lck = field("VmLck:");
	s.swap = field("VmSwap:");
	s.hwm = field("VmHWM:");
	s.peak = field("VmPeak:");
	s.maps = nmaps();
	return s;
}
/* Fault in what the reporting itself needs, then remember. */
static void baseline(void)
{
	memset(filebuf, 1, sizeof filebuf);
	memset(mapsbuf, 1, sizeof mapsbuf);
	for (int i = 0; i < 3; i++) {
		now();
		say("%s", "");
		char warm[512];
		snprintf(warm, sizeof warm, "%ld %s %d", 1L, "x", 2);
	}
	nmaps();
	base = now();
}
static void show(const char *label)
{
	struct stats s = now();
	say("%-44s size %+10ld rss %+8ld (anon %+8ld shm %+7ld) pte %+7ld maps %+4ld\n", label,
	    s.size - base.size, s.rss - base.rss, s.anon - base.anon, s.shmem - base.shmem,
	    s.pte - base.pte, s.maps - base.maps);
}
static void *map_at(void *at, size_t size, int prot, int flags)
{
	void *p = mmap(at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (p == MAP_FAILED) {
		say("mmap(%p, %zu, %d, %#x): %s\n", at, size, prot, flags, strerror(errno));
		_exit(97);
	}
	return p;
}
#define RW (PROT_READ | PROT_WRITE)
static void touch(char *p, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		*(volatile char *)(p + i) = 1;
}
static long sum_read(char *p, size_t size)
{
	long s = 0;
	for (size_t i = 0; i < size; i += PAGE)
		s += *(volatile char *)(p + i);
	return s;
}
static int advise(void *p, size_t n, int what, const char *name)
{
	int r = madvise(p, n, what);
	if (r)
		say("  madvise(%s): %s\n", name, strerror(errno));
	return r;
}
