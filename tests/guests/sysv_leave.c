// SPDX-License-Identifier: GPL-2.0-or-later
/* Leaves a segment of shared memory behind, and shows it. */
#include <fcntl.h>
#include <string.h>
#include <sys/shm.h>
#include <unistd.h>

int main(void)
{
	static char text[4096];
	int id = shmget(0x1234, 8192, IPC_CREAT | 0600), fd = open("/proc/sysvipc/shm", O_RDONLY);
	char *p = shmat(id, NULL, 0);

	memset(p, 1, 8192);
	return write(1, text, read(fd, text, sizeof(text))) < 0;
}
