/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What processes say to each other through, and clocks. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

#include "libc_check.h"

CHECK(ipc_fifo)
{
	char text[20] = "";
	int fd;

	mkfifo("fifo", 0600);
	say("writer alone %s", outcome(open("fifo", O_WRONLY | O_NONBLOCK)));
	if (!fork()) {
		fd = open("fifo", O_WRONLY);
		_exit(write(fd, "through", 7) != 7);
	}
	fd = open("fifo", O_RDONLY);
	say("%zd", read(fd, text, sizeof(text)));
	say("%s", text);
	say("end %zd", read(fd, text, sizeof(text)));
	wait(NULL);
}

CHECK(ipc_descriptors)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 'd';
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int pair[2], fd;

	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	if (!fork()) {
		fd = open("passed", O_CREAT | O_RDWR, 0600);
		write(fd, "contents", 8);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
		_exit(sendmsg(pair[1], &message, 0) != 1);
	}
	say("received %zd", recvmsg(pair[0], &message, 0));
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	say("position %ld", (long)lseek(fd, 0, SEEK_CUR));
	wait(NULL);
}

CHECK(ipc_unix_socket)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" };
	int server = socket(AF_UNIX, SOCK_STREAM, 0), fd;
	char text[20] = "";
	struct stat st;

	say("bind %s", outcome(bind(server, (void *)&name, sizeof(name))));
	say("again %s",
	    outcome(bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&name, sizeof(name))));
	stat("socket", &st);
	say("socket %d", S_ISSOCK(st.st_mode));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	say("too early %s", outcome(connect(fd, (void *)&name, sizeof(name))));
	say("listen %s", outcome(listen(server, 5)));
	if (!fork()) {
		if (connect(fd, (void *)&name, sizeof(name)))
			say("connect %s", outcome(-1));
		_exit(send(fd, "hello", 5, 0) != 5);
	}
	fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	say("accept %s", outcome(fd));
	say("%zd", recv(fd, text, 5, MSG_WAITALL));
	say("%s", text);
	wait(NULL);
}

static void serve(int family, struct sockaddr *address, socklen_t length)
{
	int server = socket(family, SOCK_STREAM, 0), fd, one = 1, error;
	socklen_t size = sizeof(error);
	char text[20] = "";

	say("reuse %s", outcome(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one))));
	say("bind %s", outcome(bind(server, address, length)));
	getsockname(server, address, &length);
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	say("listen %s", outcome(listen(server, 5)));
	say("connect %s", outcome(connect(fd, address, length)));
	say("writable %d", poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, 1000));
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	say("error %d", error);
	write(fd, "request", 7);
	shutdown(fd, SHUT_WR);
	server = accept(server, NULL, NULL);
	say("%zd", recv(server, text, sizeof(text), MSG_WAITALL));
	say("%s", text);
	write(server, "answer", 6);
	close(server);
	say("readable %d", poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 1000));
	say("%zd", read(fd, text, 6));
	say("end %zd", read(fd, text + 10, 6));
	say("%.6s", text);
}

CHECK(ipc_tcp)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in6 address6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };

	serve(AF_INET, (void *)&address, sizeof(address));
	serve(AF_INET6, (void *)&address6, sizeof(address6));
}

CHECK(ipc_udp)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof(address);
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
	char text[20] = "";

	bind(a, (void *)&address, length);
	getsockname(a, (void *)&address, &length);
	say("send %zd", sendto(b, "datagram", 8, 0, (void *)&address, length));
	say("send %zd", sendto(b, "", 0, 0, (void *)&address, length));
	say("cut %zd", recv(a, text, 4, MSG_TRUNC));
	say("empty %zd", recv(a, text, 4, 0));
	say("none %s", outcome(recv(a, text, 4, MSG_DONTWAIT)));
}

CHECK(ipc_names)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	char text[100];

	say("localhost %d", getaddrinfo("localhost", "80", &hints, &found));
	inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof(text));
	say("%s", text);
	hints.ai_flags = AI_NUMERICHOST;
	say("numeric %d", getaddrinfo("not.numeric", NULL, &hints, &found));
	say("%d", inet_pton(AF_INET6, "2001:db8::1", text + 50));
	say("%s", inet_ntop(AF_INET6, text + 50, text, 50));
}

CHECK(ipc_waiting)
{
	struct timeval none = { 0, 1000 };
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = 7 };
	int fds[2], set = epoll_create1(EPOLL_CLOEXEC);
	fd_set read_set;

	pipe(fds);
	FD_ZERO(&read_set);
	FD_SET(fds[0], &read_set);
	say("select %d", select(fds[0] + 1, &read_set, NULL, NULL, &none));
	say("add %s", outcome(epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &event)));
	say("again %s", outcome(epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &event)));
	write(fds[1], "x", 1);
	say("edge %d", epoll_wait(set, &event, 1, 10));
	say("data %u", event.data.u32);
	say("no edge %d", epoll_wait(set, &event, 1, 1));
	FD_SET(fds[0], &read_set);
	say("select %d", select(fds[0] + 1, &read_set, NULL, NULL, NULL));
	close(fds[1]);
	say("poll %d", poll(&(struct pollfd){ fds[0], POLLIN, 0 }, 1, -1));
}

CHECK(ipc_counters)
{
	int fd = eventfd(3, EFD_NONBLOCK | EFD_SEMAPHORE),
	    timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec when = { .it_value = { 0, 1000000 }, .it_interval = { 0, 1000000 } };
	struct signalfd_siginfo info;
	eventfd_t value;
	uint64_t times;
	sigset_t mask;

	for (int i = 0; i < 4; i++)
		say("eventfd %s", outcome(eventfd_read(fd, &value)));
	timerfd_settime(timer, 0, &when, NULL);
	say("timer %zd", read(timer, &times, 8));
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fd = signalfd(-1, &mask, 0);
	raise(SIGUSR1);
	say("signalfd %d", read(fd, &info, sizeof(info)) == sizeof(info));
	say("signal %u mine %d", info.ssi_signo, info.ssi_pid == (unsigned)getpid());
}

CHECK(ipc_system_v)
{
	struct {
		long kind;
		char text[20];
	} message = { 2, "second" };
	int queue = msgget(IPC_PRIVATE, 0600), set = semget(IPC_PRIVATE, 2, 0600);

	say("msgget %s", outcome(queue));
	msgsnd(queue, &message, 7, 0);
	message.kind = 1;
	strcpy(message.text, "first");
	msgsnd(queue, &message, 6, 0);
	say("%zd", msgrcv(queue, &message, 20, 2, 0));
	say("%s", message.text);
	say("none %s", outcome(msgrcv(queue, &message, 20, 2, IPC_NOWAIT)));
	msgctl(queue, IPC_RMID, NULL);
	say("semget %s", outcome(set));
	say("up %s", outcome(semop(set, &(struct sembuf){ 1, 3, 0 }, 1)));
	say("value %d", semctl(set, 1, GETVAL));
	say("busy %s", outcome(semop(set, &(struct sembuf){ 0, -1, IPC_NOWAIT }, 1)));
	if (!fork()) {
		usleep(20000);
		_exit(semop(set, &(struct sembuf){ 0, 1, SEM_UNDO }, 1) != 0);
	}
	say("down %s", outcome(semop(set, &(struct sembuf){ 0, -1, 0 }, 1)));
	wait(NULL);
	semctl(set, 0, IPC_RMID);
	say("removed %s", outcome(semctl(set, 1, GETVAL)));
}

static volatile int notified;

static void on_message(int number, siginfo_t *info, void *context)
{
	(void)context;
	notified = number == SIGUSR1 && info->si_code == SI_MESGQ ? info->si_value.sival_int : -1;
}

static void check_notification(const char *name)
{
	struct sigaction action = { .sa_sigaction = on_message, .sa_flags = SA_SIGINFO };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	mqd_t queue = mq_open(name, O_RDWR);
	struct timespec soon;

	event.sigev_value.sival_int = 33;
	sigaction(SIGUSR1, &action, NULL);
	say("notify %s", outcome(mq_notify(queue, &event)));
	say("again %s", outcome(mq_notify(queue, &event)));
	mq_send(queue, "one", 3, 0);
	say("notified %d", notified);
	for (int i = 0; i < 3; i++)
		mq_send(queue, "more", 4, i);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec++;
	say("full %s", outcome(mq_timedsend(queue, "x", 1, 0, &soon)));
	soon.tv_nsec = -1;
	say("bad time %s", outcome(mq_timedsend(queue, "x", 1, 0, &soon)));
	say("priority %s", outcome(mq_send(queue, "x", 1, 32768)));
	if (!fork()) {
		char text[16];

		usleep(20000);
		_exit(mq_receive(queue, text, 16, NULL) != 4);
	}
	say("waited %s", outcome(mq_send(queue, "last", 4, 7)));
	wait(NULL);
	say("write only %s", outcome(mq_receive(mq_open(name, O_WRONLY), NULL, 16, NULL)));
}

CHECK(ipc_message_queue)
{
	struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = 16 };
	unsigned int priority;
	char name[64], text[16];
	mqd_t queue;

	snprintf(name, sizeof(name), "/libc-check-%d", getpid());
	queue = mq_open(name, O_CREAT | O_RDWR | O_NONBLOCK, 0600, &attributes);
	say("open %s", outcome(queue));
	mq_send(queue, "low", 4, 1);
	mq_send(queue, "high", 5, 9);
	say("%zd", mq_receive(queue, text, 16, &priority));
	say("%s priority %u", text, priority);
	say("small %s", outcome(mq_receive(queue, text, 3, NULL)));
	mq_getattr(queue, &attributes);
	say("%ld messages, nonblocking %d", attributes.mq_curmsgs,
	    attributes.mq_flags == O_NONBLOCK);
	say("low %zd", mq_receive(queue, text, 16, &priority));
	say("empty %s", outcome(mq_receive(queue, text, 16, NULL)));
	say("exists %s", outcome(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL)));
	attributes.mq_maxmsg = 0;
	say("attributes %s", outcome(mq_open("/other", O_CREAT | O_RDWR, 0600, &attributes)));
	say("none %s", outcome(mq_open("/none", O_RDWR)));
	check_notification(name);
	say("unlink %s", outcome(mq_unlink(name)));
	say("gone %s", outcome(mq_unlink(name)));
}

CHECK(ipc_terminal)
{
	struct winsize size = { 24, 80, 0, 0 };
	struct termios modes;
	int master, slave;
	char text[100];
	ssize_t length;

	say("openpty %s", outcome(openpty(&master, &slave, NULL, NULL, &size)));
	say("isatty %d", isatty(slave));
	write(master, "typed\n", 6);
	length = read(slave, text, sizeof(text));
	say("read %zd", length);
	length = read(master, text, sizeof(text));
	say("echo %zd", length);
	tcgetattr(slave, &modes);
	modes.c_lflag &= ~(ICANON | ECHO);
	say("set %s", outcome(tcsetattr(slave, TCSANOW, &modes)));
	write(master, "r", 1);
	say("raw %zd", read(slave, text, sizeof(text)));
	write(slave, "a\nb", 3);
	say("output %zd", read(master, text, sizeof(text)));
	close(slave);
	say("closed %s", outcome(read(master, text, 1)));
}

CHECK(ipc_clocks)
{
	struct timespec before, after, resolution;
	struct timespec wait_ = { 0, 5000000 }, bad = { 0, 2000000000 };

	clock_gettime(CLOCK_MONOTONIC, &before);
	say("sleep %s", outcome(nanosleep(&wait_, NULL)));
	clock_gettime(CLOCK_MONOTONIC, &after);
	say("passed %d",
	    (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >=
		    5000000);
	say("bad %s", outcome(nanosleep(&bad, NULL)));
	say("resolution %s", outcome(clock_getres(CLOCK_REALTIME, &resolution)));
	say("%ld ns", resolution.tv_nsec);
	say("no clock %s", outcome(clock_gettime(99, &before)));
	say("cpu %d", clock() != -1);
	say("realtime %d", time(NULL) > 1600000000);
}
