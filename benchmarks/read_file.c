// SPDX-License-Identifier: GPL-2.0-or-later
/* Read the file PATH to its end, SIZE bytes a call. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t size = argc > 2 ? strtoul(argv[2], NULL, 0) : 65536;
	char *buffer = malloc(size);
	int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
	ssize_t n;

	if (!buffer || fd < 0)
		return 1;
	do
		n = read(fd, buffer, size);
	while (n > 0);
	return n ? 2 : 0;
}
