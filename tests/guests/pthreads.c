/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What POSIX threads do, with an outcome that no schedule changes: run natively and as a guest.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS 200

#define CHECK(call)                                                  \
	do {                                                         \
		int error_ = (call);                                 \
		if (error_) {                                        \
			printf("%s: %s\n", #call, strerror(error_)); \
			exit(1);                                     \
		}                                                    \
	} while (0)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static sem_t semaphore;
static __thread long local;
static long counter, onces, destroyed, turn, written;
static long slots[64];

static void count_once(void)
{
	onces++;
}

static void destroy(void *value)
{
	__atomic_add_fetch(&destroyed, (long)value, __ATOMIC_SEQ_CST);
}

static void *count(void *arg)
{
	long number = (long)arg;

	CHECK(pthread_once(&once, count_once));
	CHECK(pthread_setspecific(key, (void *)(number + 1)));
	for (int i = 0; i < ROUNDS; i++) {
		CHECK(pthread_mutex_lock(&mutex));
		long seen = counter;

		if (i % 16 == 0)
			sched_yield();
		counter = seen + 1;
		CHECK(pthread_mutex_unlock(&mutex));
		local += number;
	}
	return (void *)local;
}

static void *take_turns(void *arg)
{
	long number = (long)arg;

	for (int i = 0; i < 20; i++) {
		CHECK(pthread_mutex_lock(&mutex));
		while (turn % THREADS != number)
			CHECK(pthread_cond_wait(&cond, &mutex));
		turn++;
		CHECK(pthread_cond_broadcast(&cond));
		CHECK(pthread_mutex_unlock(&mutex));
	}
	return NULL;
}

static void *phases(void *arg)
{
	long number = (long)arg, sum = 0;

	for (int i = 0; i < 10; i++) {
		slots[number] = i + number;
		pthread_barrier_wait(&barrier);
		for (int j = 0; j < THREADS; j++)
			sum += slots[j];
		pthread_barrier_wait(&barrier);
	}
	return (void *)sum;
}

static void *read_write(void *arg)
{
	long number = (long)arg, bad = 0;

	for (int i = 0; i < 50; i++) {
		if (number == 0) {
			CHECK(pthread_rwlock_wrlock(&rwlock));
			written++;
			sched_yield();
			written++;
			CHECK(pthread_rwlock_unlock(&rwlock));
		} else {
			CHECK(pthread_rwlock_rdlock(&rwlock));
			bad += written & 1;
			CHECK(pthread_rwlock_unlock(&rwlock));
		}
	}
	return (void *)bad;
}

static void *post(void *arg)
{
	(void)arg;
	sem_post(&semaphore);
	return NULL;
}

static void cleaned(void *arg)
{
	*(long *)arg += 1;
}

static void *wait_for_ever(void *arg)
{
	pthread_cleanup_push(cleaned, arg);
	for (;;)
		pause();
	pthread_cleanup_pop(0);
	return NULL;
}

static long run(void *(*body)(void *))
{
	pthread_t threads[THREADS];
	long sum = 0;

	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, body, (void *)i));
	for (int i = 0; i < THREADS; i++) {
		void *result;

		CHECK(pthread_join(threads[i], &result));
		sum += (long)result;
	}
	return sum;
}

int main(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	struct timespec when;
	void *result;
	long cleanups = 0;

	CHECK(pthread_key_create(&key, destroy));
	CHECK(pthread_barrier_init(&barrier, NULL, THREADS));
	sem_init(&semaphore, 0, 0);

	printf("locals %ld\n", run(count));
	printf("counter %ld, once %ld, destructors %ld\n", counter, onces, destroyed);
	run(take_turns);
	printf("turns %ld\n", turn);
	printf("phases %ld\n", run(phases));
	printf("rwlock: odd seen %ld\n", run(read_write));
	printf("written %ld\n", written);

	CHECK(pthread_attr_init(&attr));
	CHECK(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED));
	for (int i = 0; i < 8; i++)
		CHECK(pthread_create(&thread, &attr, post, NULL));
	for (int i = 0; i < 8; i++)
		while (sem_wait(&semaphore))
			;
	printf("detached done\n");

	CHECK(pthread_create(&thread, NULL, wait_for_ever, &cleanups));
	CHECK(pthread_cancel(thread));
	CHECK(pthread_join(thread, &result));
	printf("cancelled %d, cleanups %ld\n", result == PTHREAD_CANCELED, cleanups);

	clock_gettime(CLOCK_REALTIME, &when);
	when.tv_nsec += 20000000;
	if (when.tv_nsec >= 1000000000) {
		when.tv_sec++;
		when.tv_nsec -= 1000000000;
	}
	CHECK(pthread_mutex_lock(&mutex));
	printf("timed wait: %s\n", strerror(pthread_cond_timedwait(&cond, &mutex, &when)));
	CHECK(pthread_mutex_unlock(&mutex));
	printf("trylock %d, unlock %d\n", pthread_mutex_trylock(&mutex),
	       pthread_mutex_unlock(&mutex));
	return 0;
}
