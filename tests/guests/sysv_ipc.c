// SPDX-License-Identifier: GPL-2.0-or-later
/* System V IPC: a line is a call and its answer. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

static long say(const char *what, long result)
{
	if (result == -1)
		printf("%s = -1 %s\n", what, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, result);
	return result;
}
#define SAY(call) say(#call, (long)(call))

static void child(void (*body)(int), int id)
{
	int status;

	fflush(stdout);
	if (!fork()) {
		body(id);
		fflush(stdout);
		_exit(0);
	}
	wait(&status);
	SAY(status);
}

static char *volatile shared;

static void shm_child(int id)
{
	struct shmid_ds ds;

	SAY(shared[0]);
	shared[1] = 'c';
	SAY(shmctl(id, IPC_STAT, &ds));
	SAY(ds.shm_nattch);
	char *again = shmat(id, NULL, 0);
	SAY(again != (char *)-1 && again != shared && again[1] == 'c');
	SAY(shmctl(id, IPC_STAT, &ds));
	SAY(ds.shm_nattch);
	SAY(shmdt(again));
	SAY(shmdt(again));
}

static void shared_memory(void)
{
	int key = 0x5eed0000 | (getpid() & 0xffff), id, priv;
	struct shmid_ds ds;
	struct shm_info info;
	char *p, *q;

	SAY(shmget(key, 5000, 0600));
	SAY(shmget(key, 0, IPC_CREAT | 0600));
	SAY(shmget(key, -1UL, IPC_CREAT | 0600));
	id = shmget(key, 5000, IPC_CREAT | 0640);
	SAY(id >= 0);
	SAY(shmget(key, 5000, IPC_CREAT | 0600) == id);
	SAY(shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0600));
	SAY(shmget(key, 5001, 0));
	SAY(shmget(key, 100, 0) == id);
	SAY(shmctl(id, IPC_STAT, &ds));
	printf("%#x %lu %#o %lu %d %d\n", ds.shm_perm.__key == key, ds.shm_segsz, ds.shm_perm.mode,
	       ds.shm_nattch, ds.shm_cpid == getpid(), ds.shm_lpid);
	SAY(ds.shm_atime || ds.shm_dtime || !ds.shm_ctime);
	shared = p = shmat(id, NULL, 0);
	SAY(p != (char *)-1);
	p[0] = 'p';
	child(shm_child, id);
	SAY(p[1]);
	q = shmat(id, NULL, SHM_RDONLY);
	SAY(q != (char *)-1 && q[0] == 'p');
	SAY(mprotect(q, PAGE, PROT_READ | PROT_WRITE));
	SAY((long)shmat(id, p, 0));
	SAY((long)shmat(id, p + 1, 0));
	SAY((long)shmat(id, p + 8 * PAGE + 1, SHM_REMAP));
	SAY((long)shmat(id, NULL, SHM_REMAP));
	SAY((long)shmat(-1, NULL, 0));
	SAY((long)shmat(id + 1, NULL, 0));
	SAY(shmat(id, p + 100, SHM_RND | SHM_REMAP) == p);
	SAY(shmctl(id, IPC_STAT, &ds));
	SAY(ds.shm_nattch);
	SAY(munmap(p, PAGE));
	SAY(shmctl(id, IPC_STAT, &ds) || ds.shm_nattch != 2);
	SAY(shmdt(p + 1));
	SAY(shmdt(p + PAGE));
	SAY(shmdt(p));
	SAY(shmdt(p));
	SAY(shmctl(id, SHM_LOCK, NULL));
	SAY(shmctl(id, IPC_STAT, &ds));
	printf("%#o\n", ds.shm_perm.mode);
	SAY(shmctl(id, SHM_UNLOCK, NULL));
	ds.shm_perm.mode = 0600;
	SAY(shmctl(id, IPC_SET, &ds));
	SAY(shmctl(id, IPC_STAT, &ds));
	printf("%#o %lu\n", ds.shm_perm.mode, ds.shm_nattch);
	SAY(shmctl(id, SHM_INFO, (void *)&info) >= 0);
	SAY(shmctl(id, 77, NULL));
	SAY(shmctl(-1, IPC_STAT, &ds));
	SAY(shmctl(id, IPC_STAT, (void *)8));
	SAY(shmctl(id, IPC_RMID, NULL));
	SAY(shmctl(id, IPC_STAT, &ds));
	printf("%#o %#x %c\n", ds.shm_perm.mode, ds.shm_perm.__key, q[0]);
	SAY(shmget(key, 5000, 0600));
	p = shmat(id, NULL, 0);
	SAY(p != (char *)-1);
	SAY(shmdt(q));
	SAY(shmctl(id, IPC_STAT, &ds));
	SAY(shmdt(p));
	SAY(shmctl(id, IPC_STAT, &ds));
	SAY(shmctl(id, IPC_RMID, NULL));
	priv = shmget(IPC_PRIVATE, 1 << 20, 0400);
	SAY(priv >= 0);
	SAY((long)shmat(priv, NULL, 0));
	q = shmat(priv, NULL, SHM_RDONLY);
	SAY(q != (char *)-1);
	SAY(shmctl(priv, IPC_RMID, NULL));
}

static int op(int id, int num, int value, int flags)
{
	struct sembuf one = { (unsigned short)num, (short)value, (short)flags };

	return semop(id, &one, 1);
}

static void sem_waits(int id)
{
	SAY(op(id, 0, -2, 0));
	SAY(op(id, 1, 0, 0));
}

static void sem_undoes(int id)
{
	SAY(op(id, 2, 5, SEM_UNDO));
	SAY(op(id, 2, -1, SEM_UNDO));
	SAY(semctl(id, 2, GETVAL));
}

static void sem_removed(int id)
{
	SAY(op(id, 0, -100, 0));
}

static void ignore(int signo)
{
}

static void semaphores(void)
{
	int key = 0x5eed0000 | (getpid() & 0xffff), id, status;
	struct semid_ds ds;
	struct seminfo info;
	unsigned short values[4] = { 1, 2, 3, 4 };
	struct timespec soon = { 0, 1000000 }, bad = { 0, -1 };
	struct sembuf two[2] = { { 0, -1, 0 }, { 3, -1, IPC_NOWAIT } }, many[501];
	pid_t waiter;

	SAY(semget(key, 4, 0600));
	SAY(semget(key, 0, IPC_CREAT | 0600));
	SAY(semget(key, -1, IPC_CREAT | 0600));
	SAY(semget(key, 40000, IPC_CREAT | 0600));
	id = semget(key, 4, IPC_CREAT | 0600);
	SAY(id >= 0);
	SAY(semget(key, 4, IPC_CREAT | IPC_EXCL | 0600));
	SAY(semget(key, 5, 0));
	SAY(semget(key, 0, 0) == id);
	SAY(semctl(id, 0, IPC_STAT, &ds));
	printf("%lu %#o %d\n", ds.sem_nsems, ds.sem_perm.mode, ds.sem_otime != 0);
	SAY(semctl(id, 0, GETVAL));
	SAY(semctl(id, 4, GETVAL));
	SAY(semctl(id, 0, SETVAL, 32768));
	SAY(semctl(id, 0, SETVAL, -1));
	SAY(semctl(id, 0, SETVAL, 1));
	SAY(semctl(id, 0, GETPID) == getpid());
	SAY(semctl(id, 0, GETALL, values));
	printf("%d %d %d %d\n", values[0], values[1], values[2], values[3]);
	SAY(op(id, 0, -2, IPC_NOWAIT));
	SAY(op(id, 0, 0, IPC_NOWAIT));
	SAY(op(id, 4, 1, 0));
	SAY(op(id, 0, 32767, 0));
	SAY(semop(id, two, 2));
	SAY(semctl(id, 0, GETVAL));
	SAY(semop(id, two, 0));
	SAY(semop(id, many, 501));
	SAY(semop(id, (void *)8, 1));
	SAY(semop(-1, two, 1));
	SAY(semtimedop(id, &(struct sembuf){ 0, -5, 0 }, 1, &soon));
	SAY(semtimedop(id, &(struct sembuf){ 0, -5, 0 }, 1, &bad));
	SAY(semctl(id, 1, SETVAL, 1));
	fflush(stdout);
	waiter = fork();
	if (!waiter) {
		sem_waits(id);
		fflush(stdout);
		_exit(0);
	}
	while (semctl(id, 0, GETNCNT) != 1)
		usleep(1000);
	SAY(semctl(id, 0, GETZCNT));
	SAY(op(id, 0, 1, 0));
	while (semctl(id, 1, GETZCNT) != 1)
		usleep(1000);
	SAY(semctl(id, 0, GETVAL));
	SAY(semctl(id, 0, GETPID) == waiter);
	fflush(stdout);
	SAY(op(id, 1, -1, 0));
	waitpid(waiter, &status, 0);
	SAY(status);
	child(sem_undoes, id);
	SAY(semctl(id, 2, GETVAL));
	values[0] = 9, values[1] = 8, values[2] = 7, values[3] = 6;
	SAY(semctl(id, 0, SETALL, values));
	SAY(semctl(id, 3, GETVAL));
	values[3] = 40000;
	SAY(semctl(id, 0, SETALL, values));
	signal(SIGALRM, ignore);
	siginterrupt(SIGALRM, 0);
	alarm(1);
	SAY(op(id, 0, -1000, 0));
	SAY(semctl(0, 0, IPC_INFO, &info) >= 0);
	printf("%d %d %d %d\n", info.semmsl, info.semopm, info.semvmx, info.semmni);
	fflush(stdout);
	waiter = fork();
	if (!waiter) {
		sem_removed(id);
		fflush(stdout);
		_exit(0);
	}
	while (semctl(id, 0, GETNCNT) != 1)
		usleep(1000);
	SAY(semctl(id, 0, IPC_RMID));
	waitpid(waiter, &status, 0);
	SAY(status);
	SAY(semctl(id, 0, GETVAL));
	SAY(op(id, 0, 1, 0));
}

struct text {
	long kind;
	char data[9000];
};
static struct text text;

static int send(int id, long kind, const char *data, int flags)
{
	text.kind = kind;
	strcpy(text.data, data);
	return msgsnd(id, &text, strlen(data), flags);
}

static void receive(int id, size_t size, long kind, int flags)
{
	long n = msgrcv(id, &text, size, kind, flags);

	printf("msgrcv(%zu, %ld, %#o)", size, kind, flags);
	say("", n);
	if (n >= 0)
		printf(" %ld \"%.*s\"\n", text.kind, (int)n, text.data);
}

static void message_waits(int id)
{
	receive(id, 100, 50, 0);
	SAY(send(id, 51, "answer", 0));
}

static void messages(void)
{
	int key = 0x5eed0000 | (getpid() & 0xffff), id, status, n = 0;
	struct msqid_ds ds;
	pid_t waiter;

	SAY(msgget(key, 0600));
	id = msgget(key, IPC_CREAT | 0600);
	SAY(id >= 0);
	SAY(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
	SAY(send(id, 1, "one", 0));
	SAY(send(id, 3, "three", 0));
	SAY(send(id, 2, "two", 0));
	SAY(send(id, 1, "one more", 0));
	SAY(send(id, 0, "none", 0));
	SAY(send(id, -5, "less", 0));
	SAY(msgsnd(id, &text, 8193, 0));
	SAY(msgsnd(id, &text, -1, 0));
	SAY(msgsnd(id, (void *)8, 1, 0));
	SAY(msgctl(id, IPC_STAT, &ds));
	printf("%lu %lu %lu %d %d %#o\n", ds.__msg_cbytes, ds.msg_qnum, ds.msg_qbytes,
	       ds.msg_lspid == getpid(), ds.msg_lrpid, ds.msg_perm.mode);
	receive(id, 100, 2, 0);
	receive(id, 2, 0, 0);
	receive(id, 2, 0, MSG_NOERROR);
	receive(id, 100, -2, 0);
	receive(id, 100, -2, IPC_NOWAIT);
	receive(id, 100, 3, MSG_EXCEPT | IPC_NOWAIT);
	receive(id, 100, 1, MSG_EXCEPT | IPC_NOWAIT);
	receive(id, 100, 0, IPC_NOWAIT);
	receive(id, -1, 0, IPC_NOWAIT);
	receive(id, 100, 0, 040000);
	memset(text.data, 'x', 8192);
	text.kind = 7;
	while (!msgsnd(id, &text, 8192, IPC_NOWAIT))
		n++;
	SAY(n);
	SAY(msgsnd(id, &text, 1, IPC_NOWAIT));
	SAY(msgctl(id, IPC_STAT, &ds));
	ds.msg_qbytes = 8192 * 4;
	SAY(msgctl(id, IPC_SET, &ds));
	while (msgrcv(id, &text, 8192, 0, IPC_NOWAIT) >= 0)
		n--;
	SAY(n);
	fflush(stdout);
	waiter = fork();
	if (!waiter) {
		message_waits(id);
		fflush(stdout);
		_exit(0);
	}
	SAY(send(id, 49, "other", 0));
	usleep(1000);
	fflush(stdout);
	send(id, 50, "question", 0);
	waitpid(waiter, &status, 0);
	SAY(status);
	receive(id, 100, 51, 0);
	SAY(msgctl(id, 77, &ds));
	SAY(msgctl(id, IPC_STAT, (void *)8));
	SAY(msgctl(id, IPC_RMID, NULL));
	SAY(msgctl(id, IPC_RMID, NULL));
	SAY(send(id, 1, "gone", 0));
	receive(id, 1, 1, 0);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc < 2 || !strcmp(argv[1], "shm"))
		shared_memory();
	if (argc < 2 || !strcmp(argv[1], "sem"))
		semaphores();
	if (argc < 2 || !strcmp(argv[1], "msg"))
		messages();
	return 0;
}
