// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One page in each 2 MiB of SIZE (1G): a table of 4 KiB for each page of 4 KiB.
 * Then the pages go, one MADV_DONTNEED each, and the tables are empty.
 */
#include <sys/mman.h>

#include "guest.h"

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? parse_size(argv[1]) : 1ul << 30;
	volatile size_t *word;
	char *base;

	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (base == MAP_FAILED)
		die("cannot map %zu bytes", size);
	madvise(base, size, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < size; at += TABLE_SPAN) {
		word = (size_t *)(base + at);
		*word = ~at;
	}
	for (size_t at = 0; at < size; at += TABLE_SPAN) {
		word = (size_t *)(base + at);
		if (*word != ~at)
			die("wrong data at %#zx", at);
	}
	print_vm("touched");
	for (size_t at = 0; at < size; at += TABLE_SPAN)
		if (madvise(base + at, PAGE_BYTES, MADV_DONTNEED))
			die("MADV_DONTNEED of the page at %#zx failed", at);
	print_vm("purged");
	word = (size_t *)base;
	if (*word)
		die("purged memory is not zero");
	if (madvise(base, PAGE_BYTES, MADV_DONTNEED))
		die("MADV_DONTNEED of the first page failed");
	print_vm("end");
	return 0;
}
