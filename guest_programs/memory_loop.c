// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ROUNDS (4) times over SIZE (16M): sum its words line by line, then move words between places that a
 * linear congruential generator picks.  Two loads and a store a step, and a checksum at the end.
 */
#include <stdint.h>
#include <stdlib.h>

#include "guest.h"

#define LINE (64 / sizeof(uint64_t))

/* Two loads and a store a line, in order. */
static uint64_t sweep(uint64_t *word, size_t nr, uint64_t sum)
{
	for (size_t at = 0; at < nr; at += LINE) {
		sum += word[at] ^ word[at + 3];
		word[at + 1] = sum;
	}
	return sum;
}

/* As many steps as sweep(), each at places all over word; nr is a power of two. */
static uint64_t scatter(uint64_t *word, size_t nr, uint64_t sum)
{
	uint64_t chance = 1;

	for (size_t i = 0; i < nr; i += LINE) {
		chance = chance * 6364136223846793005u + 1442695040888963407u;
		sum += word[chance >> 32 & (nr - 1)];
		word[chance >> 20 & (nr - 1)] += sum;
	}
	return sum;
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? parse_size(argv[1]) : 16ul << 20;
	unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 4;
	size_t nr = size / sizeof(uint64_t);
	uint64_t *word, sum = 1;

	if (size < PAGE_BYTES || size & (size - 1))
		die("the size must be a power of two, a page at least");
	word = calloc(nr, sizeof(*word));
	if (!word)
		die("cannot allocate %zu bytes", size);
	for (unsigned long round = 0; round < rounds; round++) {
		sum = sweep(word, nr, sum);
		sum = scatter(word, nr, sum);
	}
	printf("%016lx after %lu rounds\n", (unsigned long)sum, rounds);
	return 0;
}
