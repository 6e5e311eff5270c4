/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every guest shares: sizes with a suffix, its own Vm lines, and a loud end. */
#ifndef GUEST_H
#define GUEST_H

#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_BYTES 4096ul
#define TABLE_SPAN (2ul << 20) /* what one PTE table maps */

/* Say what went wrong and end with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* Bytes that text means: digits, then nothing or one of K, M, G, T (powers of 1024). */
static inline size_t parse_size(const char *text)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	char *end;
	size_t size = strtoull(text, &end, 0);
	unsigned int shift = 0;

	if (end == text)
		die("'%s' is no size: give a number and perhaps K, M, G or T", text);
	if (*end) {
		suffix = strchr(suffixes, *end & ~0x20);
		if (!suffix || end[1])
			die("'%s' is no size: the suffix may be K, M, G or T", text);
		shift = 10 * (unsigned int)(suffix - suffixes + 1);
	}
	if (size << shift >> shift != size)
		die("'%s' is more than an address space", text);
	return size << shift;
}

/* The number of kB that /proc/self/status, read into text, gives for key. */
static inline unsigned long status_kb(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	if (!line)
		die("/proc/self/status has no line %s", key);
	return strtoul(line + strlen(key), NULL, 10);
}

/* Print one line: label, VmSize, VmRSS and VmPTE of this process. */
static inline void print_vm(const char *label)
{
	static char text[8192];
	size_t have = 0;
	ssize_t got;
	int fd = open("/proc/self/status", O_RDONLY);

	if (fd < 0)
		die("cannot open /proc/self/status");
	while (have < sizeof(text) - 1 &&
	       (got = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
		have += (size_t)got;
	close(fd);
	text[have] = 0;
	printf("%s: VmSize %lu kB, VmRSS %lu kB, VmPTE %lu kB\n", label,
	       status_kb(text, "\nVmSize:"), status_kb(text, "\nVmRSS:"),
	       status_kb(text, "\nVmPTE:"));
}

#endif
