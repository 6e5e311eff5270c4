// SPDX-License-Identifier: GPL-2.0-or-later
/* One thread spins while the other unmaps; then /proc/interrupts and /proc/vmstat. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_int started, over;

static void *spin(void *unused)
{
	started = 1;
	while (!over)
		;
	return unused;
}

static void show(const char *path)
{
	static char text[8192];
	int fd = open(path, O_RDONLY);
	ssize_t got;

	while ((got = read(fd, text, sizeof(text))) > 0)
		if (write(1, text, got) != got)
			exit(1);
	close(fd);
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, spin, NULL))
		return 1;
	while (!started)
		;
	for (int i = 0; i < 20; i++) {
		char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0);

		*(volatile char *)map = 1;
		munmap(map, 4096);
	}
	over = 1;
	pthread_join(thread, NULL);
	show("/proc/interrupts");
	show("/proc/vmstat");
	return 0;
}
