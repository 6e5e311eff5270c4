// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * THREADS (4) threads do ROUNDS (20000) rounds of each: a counter behind a mutex, a queue with
 * condition variables, thread-local sums, and a counter without any lock, whose updates get lost
 * where a thread loses its CPU between load and store: a data race on purpose.
 */
#include <pthread.h>

#include "guest.h"

#define MAX_THREADS 256
#define QUEUE 8

static size_t nr_threads, nr_rounds;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER, not_empty = PTHREAD_COND_INITIALIZER;
static size_t counter, queue[QUEUE], nr_queued, nr_taken, taken;
static volatile size_t raced;
static __thread size_t local;

static void must(int error, const char *what)
{
	if (error)
		die("%s: %s", what, strerror(error));
}

static void *count_locked(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < nr_rounds / 8; i++) {
		must(pthread_mutex_lock(&mutex), "pthread_mutex_lock");
		counter++;
		must(pthread_mutex_unlock(&mutex), "pthread_mutex_unlock");
	}
	return NULL;
}

static void put(size_t value)
{
	must(pthread_mutex_lock(&mutex), "pthread_mutex_lock");
	while (nr_queued == QUEUE)
		must(pthread_cond_wait(&not_full, &mutex), "pthread_cond_wait");
	queue[nr_queued++] = value;
	must(pthread_cond_signal(&not_empty), "pthread_cond_signal");
	must(pthread_mutex_unlock(&mutex), "pthread_mutex_unlock");
}

static int take(size_t most)
{
	int more;

	must(pthread_mutex_lock(&mutex), "pthread_mutex_lock");
	while (!nr_queued && nr_taken < most)
		must(pthread_cond_wait(&not_empty, &mutex), "pthread_cond_wait");
	more = nr_taken < most;
	if (more) {
		taken += queue[--nr_queued];
		if (++nr_taken == most)
			must(pthread_cond_broadcast(&not_empty), "pthread_cond_broadcast");
		must(pthread_cond_signal(&not_full), "pthread_cond_signal");
	}
	must(pthread_mutex_unlock(&mutex), "pthread_mutex_unlock");
	return more;
}

/* The first thread puts 1, 2, … into the queue, the others take them out. */
static void *use_queue(void *arg)
{
	size_t items = nr_rounds / 32;

	if (!arg)
		for (size_t i = 1; i <= items; i++)
			put(i);
	else
		while (take(items))
			;
	return NULL;
}

static void *sum_locally(void *arg)
{
	for (size_t i = 0; i < nr_rounds; i++)
		local += (size_t)arg;
	return (void *)local;
}

static void *race(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < nr_rounds; i++)
		raced = raced + 1;
	return NULL;
}

static size_t run(void *(*body)(void *))
{
	pthread_t threads[MAX_THREADS];
	size_t sum = 0;
	void *result;

	for (size_t i = 0; i < nr_threads; i++)
		must(pthread_create(&threads[i], NULL, body, (void *)i), "pthread_create");
	for (size_t i = 0; i < nr_threads; i++) {
		must(pthread_join(threads[i], &result), "pthread_join");
		sum += (size_t)result;
	}
	return sum;
}

int main(int argc, char **argv)
{
	size_t sum;

	nr_threads = argc > 1 ? parse_size(argv[1]) : 4;
	nr_rounds = argc > 2 ? parse_size(argv[2]) : 20000;
	if (argc > 3 || nr_threads < 2 || nr_threads > MAX_THREADS || nr_rounds > 1ul << 40)
		die("usage: threads [THREADS [ROUNDS]], 2 to %d threads", MAX_THREADS);
	run(count_locked);
	printf("mutex: %zu of %zu\n", counter, nr_threads * (nr_rounds / 8));
	run(use_queue);
	printf("queue: %zu items, sum %zu\n", nr_taken, taken);
	sum = run(sum_locally);
	printf("thread-local sums: %zu, main's %zu\n", sum, local);
	run(race);
	printf("race: %zu of %zu updates were lost\n", nr_threads * nr_rounds - raced,
	       nr_threads * nr_rounds);
	print_vm("end");
	return 0;
}
