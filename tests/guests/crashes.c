// SPDX-License-Identifier: GPL-2.0-or-later
/* Twelve children that abort, one after the other. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	for (int i = 0; i < 12; i++) {
		if (fork() == 0)
			abort();
		wait(NULL);
	}
	return 0;
}
