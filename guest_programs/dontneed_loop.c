// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The loop of the patch series: map SIZE (50G) once, then along it touch every
 * page of 2 MiB and give those 2 MiB back by MADV_DONTNEED, in pieces of CHUNK (2M).
 */
#include <sys/mman.h>

#include "guest.h"

#define SAMPLE_EVERY 512 /* blocks between looks at purged memory */

/* Map size bytes at a multiple of 2 MiB, which Linux does by itself since 6.7. */
static volatile unsigned char *map_aligned(size_t size)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	unsigned char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (base != MAP_FAILED && (size_t)base % TABLE_SPAN) {
		munmap(base, size);
		size += TABLE_SPAN;
		base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
		if (base != MAP_FAILED)
			base += -(size_t)base % TABLE_SPAN;
	}
	if (base == MAP_FAILED)
		die("cannot map %zu bytes", size);
	/* A host with huge pages for all would need no PTE tables. */
	madvise(base, size, MADV_NOHUGEPAGE);
	return base;
}

/* What page number n of the loop is given; never 0. */
static unsigned char value_of(size_t n)
{
	return (unsigned char)(n % 251 + 1);
}

/* Give [block, block + size) back in pieces of chunk bytes. */
static void purge(volatile unsigned char *block, size_t size, size_t chunk)
{
	for (size_t at = 0; at < size; at += chunk) {
		size_t piece = size - at < chunk ? size - at : chunk;

		if (madvise((void *)(block + at), piece, MADV_DONTNEED))
			die("MADV_DONTNEED of %zu bytes at %p failed", piece, (void *)(block + at));
	}
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? parse_size(argv[1]) : 50ul << 30;
	size_t chunk = argc > 2 ? parse_size(argv[2]) : TABLE_SPAN;
	size_t span = chunk > TABLE_SPAN ? chunk : TABLE_SPAN;
	volatile unsigned char *base;

	if (!size || !chunk || chunk % PAGE_BYTES || size % PAGE_BYTES)
		die("usage: dontneed_loop [SIZE] [CHUNK], multiples of 4K");
	base = map_aligned(size);
	for (size_t at = 0, nr = 0; at < size; at += span, nr++) {
		size_t block = size - at < span ? size - at : span;
		size_t last = block - PAGE_BYTES;

		for (size_t page = 0; page < block; page += PAGE_BYTES)
			base[at + page] = value_of((at + page) / PAGE_BYTES);
		if (base[at] != value_of(at / PAGE_BYTES) ||
		    base[at + last] != value_of((at + last) / PAGE_BYTES))
			die("wrong data in the block at %#zx", at);
		purge(base + at, block, chunk);
		if (nr % SAMPLE_EVERY)
			continue;
		if (base[at] || base[at + last])
			die("purged memory is not zero in the block at %#zx", at);
		purge(base + at, block, chunk);
	}
	print_vm("end");
	return 0;
}
