// SPDX-License-Identifier: GPL-2.0-or-later
/* A thread holds memory that is reachable; with an argument, 77 bytes are reachable no more. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *hold(void *barrier)
{
	void **outer = malloc(8);

	*outer = malloc(100);
	pthread_barrier_wait(barrier);
	pthread_barrier_wait(barrier);
	free(*outer);
	free(outer);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_barrier_t barrier;
	pthread_t thread;

	(void)argv;
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, hold, &barrier);
	pthread_barrier_wait(&barrier);
	if (argc > 1) {
		void *volatile lost = malloc(77);

		lost = NULL;
		(void)lost;
	}
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	puts("end");
	return 0;
}
