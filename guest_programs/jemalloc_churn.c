// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A server's heap in small, on the real jemalloc: ROUNDS (200) rounds of freeing
 * and allocating at random places of a table, each block filled with a pattern and
 * checked before it goes.  Then all but one block in 16 are freed.
 *
 * SEED (1) starts an xorshift64* generator, which gives places and sizes.
 * Size mix: 50 % 8 B-1 KiB, 30 % 1-32 KiB, 18 % 32-512 KiB, 2 % 512 KiB-1.5 MiB.
 * Decay: 0 ms dirty and muzzy, so jemalloc gives each extent back by MADV_DONTNEED
 * as it becomes free, most of them far below the 2 MiB that one PTE table maps.
 */
#include <stdint.h>

#include "guest.h"

#define SLOTS 1024
#define SWAPS_PER_ROUND 32
#define KEEP_EVERY 16

const char *malloc_conf =
	"narenas:1,background_thread:false,retain:true,dirty_decay_ms:0,muzzy_decay_ms:0";

int mallctl(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen);

static struct block {
	unsigned char *data;
	size_t size;   /* bytes */
	uint64_t seed; /* of the pattern */
} blocks[SLOTS];

static uint64_t random_state;

static uint64_t random_u64(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dull;
}

static size_t random_between(size_t low, size_t high)
{
	return low + (size_t)((random_u64() >> 16) % (high - low));
}

static size_t random_size(void)
{
	size_t percent = random_between(0, 100);

	if (percent < 50)
		return random_between(8, 1 << 10);
	if (percent < 80)
		return random_between(1 << 10, 32 << 10);
	if (percent < 98)
		return random_between(32 << 10, 512 << 10);
	return random_between(512 << 10, 3 << 19);
}

/* The pattern's word at index; a block's last bytes hold the start of theirs. */
static uint64_t pattern(const struct block *block, size_t index)
{
	return (block->seed + index) * 0x9e3779b97f4a7c15ull;
}

static void block_fill(struct block *block)
{
	size_t words = block->size / 8;
	uint64_t tail = pattern(block, words);

	for (size_t i = 0; i < words; i++)
		((uint64_t *)block->data)[i] = pattern(block, i);
	memcpy(block->data + 8 * words, &tail, block->size % 8);
}

static void block_check(const struct block *block)
{
	size_t words = block->size / 8;
	uint64_t tail = pattern(block, words);

	for (size_t i = 0; i < words; i++)
		if (((uint64_t *)block->data)[i] != pattern(block, i))
			die("wrong data at word %zu of a block of %zu bytes", i, block->size);
	if (memcmp(block->data + 8 * words, &tail, block->size % 8))
		die("wrong data at the end of a block of %zu bytes", block->size);
}

static void block_new(struct block *block)
{
	block->size = random_size();
	block->seed = random_u64();
	block->data = malloc(block->size);
	if (!block->data)
		die("jemalloc has no %zu bytes", block->size);
	block_fill(block);
}

static void block_free(struct block *block)
{
	if (!block->data)
		return;
	block_check(block);
	free(block->data);
	block->data = NULL;
}

int main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? parse_size(argv[1]) : 200;
	size_t kept = 0;

	random_state = argc > 2 ? parse_size(argv[2]) : 1;
	if (!random_state)
		die("usage: jemalloc_churn [ROUNDS] [SEED], SEED not 0");
	for (size_t swap = 0; swap < rounds * SWAPS_PER_ROUND; swap++) {
		struct block *block = &blocks[random_between(0, SLOTS)];

		block_free(block);
		block_new(block);
	}
	print_vm("full");
	for (size_t i = 0; i < SLOTS; i++)
		if (i % KEEP_EVERY)
			block_free(&blocks[i]);
	mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	for (size_t i = 0; i < SLOTS; i += KEEP_EVERY)
		if (blocks[i].data) {
			block_check(&blocks[i]);
			kept += blocks[i].size;
		}
	printf("kept %zu bytes\n", kept);
	print_vm("end");
	return 0;
}
