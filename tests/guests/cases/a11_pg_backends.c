// SPDX-License-Identifier: GPL-2.0-or-later
/* citus #2445, pgcluu #98: one shared segment, each backend's own page tables. */
#include "c.h"
#include <sys/wait.h>
int main(void)
{
	size_t n = 128 * M;
	baseline();
	char *shared = mmap(0, n, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		say("mmap: %s\n", strerror(errno));
		return 1;
	}
	touch(shared, n);
	show("postmaster: 128 MiB shared, touched");
	for (int i = 0; i < 4; i++) {
		pid_t child = fork();
		if (child < 0) {
			say("fork: %s\n", strerror(errno));
			return 4;
		}
		if (!child) {
			if (i == 0)
				show("backend: before");
			say("  sees %ld of %ld pages\n", sum_read(shared, n), n / PAGE);
			if (i == 3)
				show("backend 4: all of it read");
			_exit(0);
		}
		int status;
		waitpid(child, &status, 0);
	}
	return 0;
}
