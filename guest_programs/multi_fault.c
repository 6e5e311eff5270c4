// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The patch series' benchmark: THREADS (4) threads each touch one page in each of their AREAS (64)
 * areas of 2 MiB, ROUNDS (4) times over; after each round MADV_DONTNEED gives the areas back:
 * each thread its "own", or "one" thread those of all, or "all" threads those of all; an area in
 * pieces of CHUNK (2M).
 */
#include <pthread.h>
#include <sys/mman.h>

#include "guest.h"

#define MAX_THREADS 256

enum freer {
	OWN,
	ONE,
	ALL
};

static size_t nr_threads, nr_areas, nr_rounds, chunk = TABLE_SPAN;
static enum freer freer;
static unsigned char *base;
static pthread_barrier_t barrier;

/* The word that is touched in an area; never on the same line of a cache in two. */
static volatile size_t *word_of(size_t area)
{
	return (size_t *)(base + area * TABLE_SPAN + area % 512 * PAGE_BYTES);
}

static void purge(size_t first, size_t end)
{
	for (size_t at = first * TABLE_SPAN; at < end * TABLE_SPAN; at += chunk)
		if (madvise(base + at, chunk, MADV_DONTNEED))
			die("MADV_DONTNEED of %zu bytes at %#zx failed", chunk, at);
}

static void *run(void *argument)
{
	size_t number = (size_t)argument, first = number * nr_areas, end = first + nr_areas;

	for (size_t round = 0; round < nr_rounds; round++) {
		size_t looked = first + round % nr_areas;

		if (*word_of(looked))
			die("purged memory is not zero in area %zu", looked);
		for (size_t area = first; area < end; area++)
			*word_of(area) = ~(area + round);
		pthread_barrier_wait(&barrier);
		if (*word_of(looked) != ~(looked + round))
			die("wrong data in area %zu", looked);
		if (!number && !round)
			print_vm("touched");
		pthread_barrier_wait(&barrier);
		if (freer == OWN)
			purge(first, end);
		else if (freer == ALL || !number)
			purge(0, nr_threads * nr_areas);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static size_t count(const char *text, size_t most)
{
	char *end;
	size_t value = strtoull(text, &end, 0);

	if (!value || *end || value > most)
		die("'%s' is none of 1 to %zu", text, most);
	return value;
}

static enum freer freer_of(const char *text)
{
	static const char *const names[] = { "own", "one", "all" };

	for (int i = OWN; i <= ALL; i++)
		if (!strcmp(text, names[i]))
			return (enum freer)i;
	die("usage: multi_fault [THREADS] [AREAS] [ROUNDS] [own|one|all] [CHUNK]");
}

int main(int argc, char **argv)
{
	pthread_t threads[MAX_THREADS];
	size_t size;

	nr_threads = argc > 1 ? count(argv[1], MAX_THREADS) : 4;
	nr_areas = argc > 2 ? count(argv[2], 1 << 16) : 64;
	nr_rounds = argc > 3 ? count(argv[3], 1 << 20) : 4;
	freer = argc > 4 ? freer_of(argv[4]) : OWN;
	chunk = argc > 5 ? parse_size(argv[5]) : TABLE_SPAN;
	if (!chunk || chunk % PAGE_BYTES || TABLE_SPAN % chunk)
		die("CHUNK is a part of 2M: %zu bytes are none", chunk);
	size = (nr_threads * nr_areas + 1) * TABLE_SPAN;
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (base == MAP_FAILED)
		die("cannot map %zu bytes", size);
	base += -(size_t)base % TABLE_SPAN;
	madvise(base, size - TABLE_SPAN, MADV_NOHUGEPAGE);
	if (pthread_barrier_init(&barrier, NULL, (unsigned int)nr_threads))
		die("no barrier");
	for (size_t i = 1; i < nr_threads; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i))
			die("cannot start thread %zu", i);
	run((void *)0);
	for (size_t i = 1; i < nr_threads; i++)
		pthread_join(threads[i], NULL);
	print_vm("end");
	return 0;
}
