// SPDX-License-Identifier: GPL-2.0-or-later
/* jemalloc #1014, oxcaml #4001: threads come and go; their stacks are cached and given back by
 * MADV_DONTNEED. */
#include "c.h"
#include <pthread.h>
static pthread_barrier_t all;
static void *work(void *arg)
{
	volatile char here[64 * 1024];
	for (size_t i = 0; i < sizeof here; i += PAGE)
		here[i] = 1;
	pthread_barrier_wait(&all);
	return 0;
}
int main(void)
{
	enum {
		N = 32
	};
	pthread_t t[N];
	baseline();
	pthread_barrier_init(&all, 0, N);
	for (int i = 0; i < N; i++) {
		int e = pthread_create(&t[i], 0, work, 0);
		if (e) {
			say("pthread_create: %s\n", strerror(e));
			return 2;
		}
	}
	for (int i = 0; i < N; i++)
		pthread_join(t[i], 0);
	show("32 threads are gone");
	return 0;
}
