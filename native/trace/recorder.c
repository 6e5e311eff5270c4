/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segments go round between the ring's writer and the thread that writes them away. */
#include "trace/recorder.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct recorder {
	struct event_ring *ring;
	pthread_mutex_t lock;
	pthread_cond_t given_some, done_some;
	pid_t owner;
	bool stopped;
	u32 nr;
	u64 given, done; /* segments; the ring writes segment given modulo nr */
	u64 records;	 /* handed over */
	u64 waits;
	struct segment segment[];
};

/* A fork has no thread that would write: its records are lost, and counted. */
static bool is_foreign(const struct recorder *recorder)
{
	return getpid() != recorder->owner;
}

static void ring_is_full(struct event_ring *ring, void *arg)
{
	(void)ring;
	recorder_hand_over(arg);
}

struct recorder *recorder_create(struct event_ring *ring, u32 nr)
{
	struct recorder *recorder = calloc(1, sizeof(*recorder) + nr * sizeof(struct segment));
	u32 i;

	if (!recorder)
		return NULL;
	recorder->ring = ring;
	recorder->nr = nr;
	recorder->owner = getpid();
	pthread_mutex_init(&recorder->lock, NULL);
	pthread_cond_init(&recorder->given_some, NULL);
	pthread_cond_init(&recorder->done_some, NULL);
	for (i = 1; i < nr; i++) {
		recorder->segment[i].records = malloc(ring->capacity * sizeof(struct event));
		if (!recorder->segment[i].records) {
			recorder_destroy(recorder);
			return NULL;
		}
	}
	recorder->segment[0].records = ring->records;
	return recorder;
}

void recorder_begin(struct recorder *recorder)
{
	recorder->ring->full = ring_is_full;
	recorder->ring->arg = recorder;
	recorder_hand_over(recorder);
}

void recorder_destroy(struct recorder *recorder)
{
	u32 i;

	/* the ring frees the segment that it writes */
	for (i = 0; i < recorder->nr; i++)
		if (i != recorder->given % recorder->nr)
			free(recorder->segment[i].records);
	pthread_cond_destroy(&recorder->done_some);
	pthread_cond_destroy(&recorder->given_some);
	pthread_mutex_destroy(&recorder->lock);
	free(recorder);
}

void recorder_hand_over(struct recorder *recorder)
{
	struct event_ring *ring = recorder->ring;
	struct segment *segment;
	u32 nr = ring->head - ring->tail;

	if (!nr)
		return;
	if (is_foreign(recorder)) {
		ring->lost += nr;
		ring->head = ring->tail = 0;
		return;
	}
	pthread_mutex_lock(&recorder->lock);
	segment = &recorder->segment[recorder->given % recorder->nr];
	segment->nr = nr;
	segment->nr_sites = ring->nr_sites;
	recorder->records += nr;
	recorder->given++;
	pthread_cond_signal(&recorder->given_some);
	if (recorder->given - recorder->done == recorder->nr)
		recorder->waits++;
	while (recorder->given - recorder->done == recorder->nr)
		pthread_cond_wait(&recorder->done_some, &recorder->lock);
	segment = &recorder->segment[recorder->given % recorder->nr];
	pthread_mutex_unlock(&recorder->lock);
	ring->records = segment->records;
	ring->head = ring->tail = 0;
}

void recorder_drain(struct recorder *recorder)
{
	if (is_foreign(recorder))
		return;
	pthread_mutex_lock(&recorder->lock);
	while (recorder->done != recorder->given)
		pthread_cond_wait(&recorder->done_some, &recorder->lock);
	pthread_mutex_unlock(&recorder->lock);
}

const struct segment *recorder_wait(struct recorder *recorder)
{
	const struct segment *segment = NULL;

	pthread_mutex_lock(&recorder->lock);
	while (recorder->done == recorder->given && !recorder->stopped)
		pthread_cond_wait(&recorder->given_some, &recorder->lock);
	if (recorder->done != recorder->given)
		segment = &recorder->segment[recorder->done % recorder->nr];
	pthread_mutex_unlock(&recorder->lock);
	return segment;
}

void recorder_done(struct recorder *recorder)
{
	pthread_mutex_lock(&recorder->lock);
	recorder->done++;
	pthread_cond_broadcast(&recorder->done_some);
	pthread_mutex_unlock(&recorder->lock);
}

void recorder_stop(struct recorder *recorder)
{
	if (is_foreign(recorder))
		return;
	pthread_mutex_lock(&recorder->lock);
	recorder->stopped = true;
	pthread_cond_signal(&recorder->given_some);
	pthread_mutex_unlock(&recorder->lock);
}

u64 recorder_given(const struct recorder *recorder)
{
	return recorder->records;
}

u64 recorder_waits(const struct recorder *recorder)
{
	return recorder->waits;
}
