/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory as libc gives it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "libc_check.h"

CHECK(memory_malloc)
{
	static char *blocks[2000];
	volatile size_t huge = SIZE_MAX / 2;
	unsigned long sum = 0;

	srand(1);
	for (int round = 0; round < 20000; round++) {
		int i = rand() % 2000;
		size_t size = rand() % 100 ? rand() % 500 : rand() % 300000;

		blocks[i] = realloc(blocks[i], size + 1);
		memset(blocks[i], i, size + 1);
	}
	for (int i = 0; i < 2000; i++)
		if (blocks[i])
			sum += (unsigned char)blocks[i][0] != (i & 255);
	say("wrong %lu", sum);
	say("aligned %d", (uintptr_t)aligned_alloc(4096, 8192) % 4096 == 0);
	say("memalign %d", posix_memalign((void **)&blocks[0], 3, 8));
	say("zeros %d", *(int *)calloc(1000, 1000));
	say("overflow %s", outcome(calloc(huge, 3) ? 0 : -1));
	say("too much %s", outcome(malloc(huge) ? 0 : -1));
	say("usable %d", malloc_usable_size(malloc(100)) >= 100);
}

CHECK(memory_limit)
{
	struct rlimit limit = { 256 << 20, 256 << 20 };

	say("limit %s", outcome(setrlimit(RLIMIT_AS, &limit)));
	say("malloc %s", outcome(malloc(512 << 20) ? 0 : -1));
	if (mmap(NULL, 1 << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		say("mmap %s", outcome(-1));
	say("small %s", outcome(malloc(1 << 20) ? 0 : -1));
}

static int deep(int levels)
{
	volatile char space[1000];

	space[0] = levels;
	return levels ? deep(levels - 1) + space[0] - (char)levels : 0;
}

static sigjmp_buf back;

static void overflown(int number)
{
	siglongjmp(back, number);
}

static int endless(int depth)
{
	volatile char space[4000];

	space[0] = depth;
	return depth < 0 ? 0 : endless(depth + 1) + space[0];
}

CHECK(memory_stack)
{
	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
	struct sigaction action = { .sa_handler = overflown, .sa_flags = SA_ONSTACK };

	say("7 MB deep %d", deep(6500));
	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	if (!sigsetjmp(back, 1))
		endless(0);
	say("overflow is caught");
}

CHECK(memory_mappings)
{
	char *area = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char in_core[5];

	area[0] = 'a';
	area = mremap(area, 16384, 20480, MREMAP_MAYMOVE);
	say("mremap %c%d", area[0], area[16384]);
	say("mincore %s", outcome(mincore(area, 20480, in_core)));
	say("%d %d", in_core[0] & 1, in_core[4] & 1);
	say("dontneed %s", outcome(madvise(area, 4096, MADV_DONTNEED)));
	say("empty %d", area[0]);
	say("mprotect %s", outcome(mprotect(area + 4096, 4096, PROT_NONE)));
	say("unaligned %s", outcome(mprotect(area + 1, 4096, PROT_NONE)));
	say("munmap %s", outcome(munmap(area, 20480)));
	say("gone %s", outcome(msync(area, 4096, MS_ASYNC)));
	say("nothing %s", outcome(mmap(NULL, 0, 0, MAP_PRIVATE, -1, 0) == MAP_FAILED ? -1 : 0));
	say("mlock %s", outcome(mlock(&area, 8)));
	area = mmap(NULL, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(area, "\xb8\x2a\0\0\0\xc3", 6);
	say("execute %d", ((int (*)(void))area)());
}

CHECK(memory_shared)
{
	char name[64];
	int fd, id;
	char *shared;

	snprintf(name, sizeof(name), "/libc-check-%d", getpid());
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	say("shm_open %s", outcome(fd));
	say("ftruncate %s", outcome(ftruncate(fd, 8192)));
	shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!fork()) {
		fd = shm_open(name, O_RDWR, 0);
		pwrite(fd, "by name", 8, 4096);
		_exit(0);
	}
	wait(NULL);
	say("%s", shared + 4096);
	say("unlink %s", outcome(shm_unlink(name)));
	say("gone %s", outcome(shm_open(name, O_RDWR, 0)));
	id = shmget(IPC_PRIVATE, 5000, 0600);
	say("shmget %s", outcome(id));
	shared = shmat(id, NULL, 0);
	if (shared == (void *)-1)
		give_up("shmat");
	if (!fork()) {
		strcpy(shmat(id, NULL, 0), "by key");
		_exit(0);
	}
	wait(NULL);
	say("%s", shared);
	say("rmid %s, shmdt %s", outcome(shmctl(id, IPC_RMID, NULL)), outcome(shmdt(shared)));
	say("removed %s", outcome(shmat(id, NULL, 0) == (void *)-1 ? -1 : 0));
}

CHECK(memory_memfd)
{
	int fd = memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	say("memfd %s %d", outcome(fd), fcntl(fd, F_GETFD));
	ftruncate(fd, 4096);
	say("seal %s", outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE)));
	say("write %s", outcome(write(fd, "x", 1)));
	say("shrink %s", outcome(ftruncate(fd, 10)));
	say("grow %s", outcome(ftruncate(fd, 8192)));
	say("seals %d", fcntl(fd, F_GET_SEALS));
}

#ifdef __GLIBC__
CHECK(memory_break)
{
	char *start = sbrk(0);

	say("grow %d", sbrk(100000) == start);
	start[99999] = 1;
	say("shrink %d", sbrk(-100000) == start + 100000);
	say("now %d", sbrk(0) == start);
}
#endif
