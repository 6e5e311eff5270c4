// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Files while other threads map the buffers anew, so that reads and writes fault and wait: what is
 * appended, what moves the position, what is closed meanwhile; and a file read into its own
 * mapping.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096L
#define SIZE (4 * PAGE)
#define WRITERS 3
#define ROUNDS 64

static char *buffer;
static _Atomic int fd, writers;

static void *write_on(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++)
		if (write(fd, buffer, SIZE) != SIZE)
			perror("write");
	writers--;
	return NULL;
}

static void *use_what_is_open(void *arg)
{
	for (int i = 0; i < 4 * ROUNDS; i++) {
		long n = arg ? pwrite(fd, buffer, SIZE, 0) : pread(fd, buffer, SIZE, 0);

		if (n < 0 && errno != EBADF)
			perror("pread, pwrite");
	}
	writers--;
	return NULL;
}

static void *map_anew(void *arg)
{
	while (writers) {
		mmap(buffer, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		     -1, 0);
		buffer[0] = 1;
		buffer[2 * PAGE] = 2;
	}
	return arg;
}

static void *close_it(void *arg)
{
	while (writers) {
		int old = fd;

		fd = open("closed", O_CREAT | O_RDWR, 0600);
		close(old);
		unlink("closed");
	}
	return arg;
}

static void write_together(const char *name, int flags)
{
	pthread_t thread[WRITERS + 1];

	fd = open(name, O_CREAT | O_RDWR | flags, 0600);
	writers = WRITERS;
	for (int i = 0; i < WRITERS; i++)
		pthread_create(&thread[i], NULL, write_on, NULL);
	pthread_create(&thread[WRITERS], NULL, map_anew, NULL);
	for (int i = 0; i <= WRITERS; i++)
		pthread_join(thread[i], NULL);
	printf("%s: %ld bytes of %ld\n", name, (long)lseek(fd, 0, SEEK_END),
	       WRITERS * ROUNDS * SIZE);
	close(fd);
}

static void close_meanwhile(void)
{
	pthread_t thread[4];

	fd = open("closed", O_CREAT | O_RDWR, 0600);
	writers = 2;
	pthread_create(&thread[0], NULL, use_what_is_open, NULL);
	pthread_create(&thread[1], NULL, use_what_is_open, buffer);
	pthread_create(&thread[2], NULL, close_it, NULL);
	pthread_create(&thread[3], NULL, map_anew, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	puts("closed meanwhile");
}

static void read_into_itself(void)
{
	int file = open("itself", O_CREAT | O_RDWR, 0600);
	char *map;

	ftruncate(file, 2 * PAGE);
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	strcpy(map, "kept");
	printf("%ld bytes of the file into its mapping: ", (long)pread(file, map, PAGE, 0));
	puts(map);
}

int main(void)
{
	buffer = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	write_together("appended", O_APPEND);
	write_together("written", 0);
	close_meanwhile();
	read_into_itself();
	return 0;
}
