// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ROUNDS (4) times over SIZE (16M): visit each line in order, then as many places that a linear
 * congruential generator picks, from a window of WINDOW (128K) that moves on by itself after
 * itself. Two loads and a store a step, and a checksum at the end.
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

/* As many steps, each at two places of the window it is in; nr and window are powers of two. */
static uint64_t scatter(uint64_t *word, size_t nr, size_t window, uint64_t sum)
{
	uint64_t chance = 1;

	for (size_t i = 0; i < nr; i += LINE) {
		uint64_t *base = word + (i & ~(window - 1));

		chance = chance * 6364136223846793005u + 1442695040888963407u;
		sum += base[chance >> 32 & (window - 1)];
		base[chance >> 20 & (window - 1)] += sum;
	}
	return sum;
}

/* An argument that is a power of two, a page at least, in words. */
static size_t words_of(const char *text)
{
	size_t size = parse_size(text);

	if (size < PAGE_BYTES || size & (size - 1))
		die("'%s' is no power of two of at least a page", text);
	return size / sizeof(uint64_t);
}

int main(int argc, char **argv)
{
	size_t nr = words_of(argc > 1 ? argv[1] : "16M");
	unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 4;
	size_t window = words_of(argc > 3 ? argv[3] : "128K");
	uint64_t *word = calloc(nr, sizeof(*word)), sum = 1;

	if (!word)
		die("cannot allocate %zu words", nr);
	if (window > nr)
		window = nr;
	for (unsigned long round = 0; round < rounds; round++) {
		sum = sweep(word, nr, sum);
		sum = scatter(word, nr, window, sum);
	}
	printf("%016lx after %lu rounds\n", (unsigned long)sum, rounds);
	return 0;
}
