// SPDX-License-Identifier: GPL-2.0-or-later
/* Pseudo-terminals, the line discipline, and job control: each line must be the same on the host.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static char buffer[1 << 17];

static void tell(const char *what, long result)
{
	if (result < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, result);
}

static void settle(void)
{
	nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
}

static void settle_long(void)
{
	for (int i = 0; i < 8; i++)
		settle();
}

static void show(const char *what, int fd, size_t size)
{
	ssize_t got;

	settle();
	got = read(fd, buffer, size);
	if (got < 0) {
		printf("%s: %s\n", what, strerrorname_np(errno));
		return;
	}
	printf("%s: %zd ", what, got);
	for (ssize_t i = 0; i < got; i++)
		if (isprint((unsigned char)buffer[i]))
			putchar(buffer[i]);
		else
			printf("<%02x>", (unsigned char)buffer[i]);
	putchar('\n');
}

static void events(const char *what, int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT | POLLPRI, 0 };

	settle();
	poll(&p, 1, 0);
	printf("%s:%s%s%s%s\n", what, p.revents & POLLIN ? " IN" : "",
	       p.revents & POLLOUT ? " OUT" : "", p.revents & POLLHUP ? " HUP" : "",
	       p.revents & POLLERR ? " ERR" : "");
}

static int pair(int *slave)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);

	unlockpt(master);
	*slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	fcntl(master, F_SETFL, O_NONBLOCK);
	return master;
}

static void type(int master, const char *keys)
{
	write(master, keys, strlen(keys));
	settle();
}

static void set(int fd, tcflag_t iflag_off, tcflag_t iflag_on, tcflag_t lflag_off,
		tcflag_t lflag_on)
{
	struct termios t;

	tcgetattr(fd, &t);
	t.c_iflag = (t.c_iflag & ~iflag_off) | iflag_on;
	t.c_lflag = (t.c_lflag & ~lflag_off) | lflag_on;
	tcsetattr(fd, TCSANOW, &t);
}

static void opening(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave, lock = -1, number = -1;
	struct termios t;
	struct winsize w = { 1, 2, 3, 4 };
	struct stat st;
	const char *name = ptsname(master);

	printf("%.9s\n", name);
	tell("locked", open(name, O_RDWR | O_NOCTTY));
	ioctl(master, TIOCGPTLCK, &lock);
	printf("lock %d\n", lock);
	events("never open", master);
	tell("grantpt", grantpt(master));
	tell("unlockpt", unlockpt(master));
	ioctl(master, TIOCGPTN, &number);
	printf("number is the name's %d\n", number == atoi(name + 9));
	slave = open(name, O_RDWR | O_NOCTTY);
	stat(name, &st);
	printf("mode %o major %d minor %d\n", st.st_mode & ~S_IWGRP, major(st.st_rdev),
	       (int)minor(st.st_rdev) == number);
	fstat(master, &st);
	printf("mode %o rdev %d %d\n", st.st_mode, major(st.st_rdev), minor(st.st_rdev));
	printf("ttyname %d, isatty %d %d %d\n", !strcmp(ttyname(slave), name), isatty(slave),
	       isatty(master), isatty(open("/dev/null", O_RDWR)));
	tell("chmod", chmod(name, 0600));
	stat(name, &st);
	printf("mode %o\n", st.st_mode);
	tell("fchmod", fchmod(slave, 0622));
	tell("chown", chown(name, getuid(), getgid()));
	fstat(slave, &st);
	printf("mode %o, owner %d %d\n", st.st_mode, st.st_uid == getuid(), st.st_gid == getgid());
	tcgetattr(slave, &t);
	printf("%x %x %x %x %d, speeds %d %d:", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag,
	       t.c_line, cfgetispeed(&t), cfgetospeed(&t));
	for (int i = 0; i < 17; i++)
		printf(" %x", t.c_cc[i]);
	printf("\n");
	cfsetspeed(&t, B9600);
	t.c_cc[VERASE] = 'x';
	tell("tcsetattr", tcsetattr(master, TCSANOW, &t));
	tcgetattr(slave, &t);
	printf("through the master: %d %c\n", cfgetospeed(&t), t.c_cc[VERASE]);
	tell("size", ioctl(slave, TIOCSWINSZ, &w));
	memset(&w, 0, sizeof(w));
	ioctl(master, TIOCGWINSZ, &w);
	printf("size %d %d %d %d\n", w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel);
	tell("another master is another", posix_openpt(O_RDWR | O_NOCTTY) != master);
	lock = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	tell("peer", lock > 0);
	printf("its name %d\n", !strcmp(ttyname(lock), name));
	tell("seek", lseek(slave, 0, SEEK_SET));
	tell("pread", pread(slave, buffer, 1, 0));
	tell("no such", ioctl(slave, 0x5499, 0));
	tell("TIOCGPTN of a slave", ioctl(slave, TIOCGPTN, &number));
	tell("TIOCGSID", ioctl(slave, TIOCGSID, &number));
	tell("TIOCGPGRP", ioctl(slave, TIOCGPGRP, &number));
	number = 7;
	tell("TIOCGPGRP of the master", ioctl(master, TIOCGPGRP, &number));
	printf("%d\n", number);
	number = getpgrp();
	tell("TIOCSPGRP", ioctl(slave, TIOCSPGRP, &number));
	tell("TIOCNOTTY", ioctl(slave, TIOCNOTTY));
	tell("of a file", tcgetattr(open("/dev/null", O_RDWR), &t));
	tell("flush what", tcflush(slave, 9));
	tell("flow what", tcflow(slave, 9));
	tell("drain", tcdrain(slave));
	tell("break", tcsendbreak(slave, 0));
	tell("TIOCSETD", ioctl(slave, TIOCGETD, &number));
	printf("%d\n", number);
}

static void editing(void)
{
	int s, m = pair(&s);

	type(m, "hello\n");
	show("echo", m, 100);
	show("line", s, 100);
	type(m, "abc\177\177d\n");
	show("erase, echo", m, 100);
	show("erase", s, 100);
	type(m, "one two  \027\027three\n");
	show("werase, echo", m, 100);
	show("werase", s, 100);
	type(m, "gone\025kept\r");
	show("kill, echo", m, 100);
	show("kill", s, 100);
	type(m, "a\026\003b\001\033\n");
	show("lnext, echo", m, 100);
	show("lnext", s, 100);
	type(m, "re\022print\n");
	show("reprint, echo", m, 100);
	show("reprint", s, 100);
	type(m, "a\tb\177\177\177\t\t\177\177x\n");
	show("tabs, echo", m, 100);
	show("tabs", s, 100);
	type(m, "\001\002\177\177z\n");
	show("control, echo", m, 100);
	show("control", s, 100);
	type(m, "part\004");
	show("no newline, echo", m, 100);
	show("no newline", s, 2);
	show("no newline", s, 100);
	type(m, "\004");
	show("end", s, 100);
	type(m, "one\ntwo\nthree\n");
	show("three lines, one", s, 100);
	show("three lines, two", s, 2);
	show("three lines, two", s, 100);
	fcntl(s, F_SETFL, O_NONBLOCK);
	show("three lines, three", s, 100);
	show("none", s, 100);
	type(m, "half");
	show("half a line", s, 100);
	events("half a line", s);
	set(s, 0, 0, ICANON, 0);
	show("raw from here on", s, 100);
	type(m, "raw");
	set(s, 0, 0, 0, ICANON);
	show("a line from here on", s, 100);
	read(m, buffer, sizeof(buffer));
	set(s, 0, IUTF8, 0, 0);
	type(m, "\303\244\303\266\177x\n");
	show("UTF-8, echo", m, 100);
	show("UTF-8", s, 100);
	set(s, 0, 0, ECHOE, 0);
	type(m, "ab\177c\n");
	show("no ECHOE", m, 100);
	show("no ECHOE", s, 100);
	set(s, 0, 0, ECHOKE, ECHOE);
	type(m, "ab\025c\n");
	show("no ECHOKE", m, 100);
	show("no ECHOKE", s, 100);
	set(s, 0, 0, ECHO, ECHONL);
	type(m, "abc\n");
	show("ECHONL", m, 100);
	show("ECHONL", s, 100);
	set(s, ICRNL, INLCR, 0, ECHO);
	type(m, "a\rb\n");
	show("INLCR", m, 100);
	show("INLCR", s, 100);
	set(s, INLCR, IGNCR, 0, 0);
	type(m, "a\rb\n");
	show("IGNCR", m, 100);
	show("IGNCR", s, 100);
	set(s, IGNCR, ISTRIP, 0, ECHOPRT);
	type(m, "ab\177\177c\n");
	show("ECHOPRT", m, 100);
	show("ECHOPRT", s, 100);
	set(s, 0, 0, ECHOCTL | ECHOPRT, 0);
	type(m, "a\001b\177\177\n");
	show("no ECHOCTL", m, 100);
	show("no ECHOCTL", s, 100);
}

static void output(void)
{
	static const tcflag_t flags[] = { 0,
					  OPOST,
					  OPOST | ONLCR,
					  OPOST | OCRNL,
					  OPOST | ONOCR,
					  OPOST | ONLRET,
					  OPOST | OLCUC,
					  OPOST | XTABS | ONLCR };
	int s, m = pair(&s), n;
	struct termios t;

	for (unsigned int i = 0; i < ARRAY_SIZE(flags); i++) {
		tcgetattr(s, &t);
		t.c_oflag = flags[i];
		tcsetattr(s, TCSANOW, &t);
		tell("write", write(s, "\ra\tb\rcc\b\td\nee\tf\r\n", 17));
		show("shown", m, 100);
	}
	write(s, "left", 4);
	settle();
	ioctl(s, TIOCOUTQ, &n);
	printf("TIOCOUTQ %d\n", n >= 0);
	ioctl(m, FIONREAD, &n);
	printf("FIONREAD of the master %d\n", n);
	show("two", m, 2);
	show("two", m, 2);
	type(m, "ab\ncd");
	ioctl(s, FIONREAD, &n);
	printf("FIONREAD %d\n", n);
	tcflush(s, TCIFLUSH);
	fcntl(s, F_SETFL, O_NONBLOCK);
	show("flushed", s, 10);
	read(m, buffer, sizeof(buffer));
	type(m, "\023");
	tell("stopped", write(s, "x", 1));
	events("stopped", s);
	type(m, "\021");
	tell("goes on", write(s, "y", 1));
	show("shown", m, 10);
	tcflow(s, TCOOFF);
	tell("stopped", write(s, "x", 1));
	tcflow(s, TCOON);
	tell("goes on", write(s, "z", 1));
	show("shown", m, 10);
}

static void raw(void)
{
	int s, m = pair(&s);
	struct termios t;

	tcgetattr(s, &t);
	cfmakeraw(&t);
	tcsetattr(s, TCSANOW, &t);
	type(m, "\003\004\r\n\177");
	show("no echo", m, 10);
	show("all of it", s, 10);
	t.c_cc[VMIN] = 3;
	tcsetattr(s, TCSANOW, &t);
	type(m, "ab");
	events("two of three", s);
	if (!fork()) {
		settle();
		type(m, "cd");
		_exit(0);
	}
	show("three", s, 3);
	show("three, and one more", s, 1);
	wait(NULL);
	t.c_cc[VMIN] = 0;
	tcsetattr(s, TCSANOW, &t);
	show("rest", s, 10);
	show("nothing", s, 10);
	t.c_cc[VTIME] = 2;
	tcsetattr(s, TCSANOW, &t);
	show("nothing in time", s, 10);
	t.c_cc[VMIN] = 5;
	tcsetattr(s, TCSANOW, &t);
	type(m, "ab");
	show("two, then none for a while", s, 10);
	fcntl(s, F_SETFL, O_NONBLOCK);
	show("nonblocking", s, 10);
	type(m, "a");
	show("less than VMIN", s, 10);
}

static volatile sig_atomic_t signals[65];

static void note(int signo)
{
	signals[signo]++;
}

static void told(const char *what)
{
	printf("%s:", what);
	for (int i = 1; i < 65; i++)
		if (signals[i]) {
			printf(" %s %d", sigabbrev_np(i), signals[i]);
			signals[i] = 0;
		}
	printf("\n");
}

static void take(void)
{
	struct sigaction sa = { .sa_handler = note };
	static const int all[] = { SIGINT, SIGQUIT, SIGTSTP, SIGWINCH,
				   SIGHUP, SIGCONT, SIGTTIN, SIGTTOU };

	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++)
		sigaction(all[i], &sa, NULL);
}

static int in_session(void (*run)(int m, int s))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int m = posix_openpt(O_RDWR | O_NOCTTY), s;

		setsid();
		unlockpt(m);
		s = open(ptsname(m), O_RDWR);
		fcntl(m, F_SETFL, O_NONBLOCK);
		take();
		run(m, s);
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		printf("ended by %s\n", sigabbrev_np(WTERMSIG(status)));
	else
		printf("ended with %d\n", WEXITSTATUS(status));
	return status;
}

static void keys(int m, int s)
{
	struct winsize w = { 5, 5, 0, 0 };
	pid_t sid = -1;
	int fd = open("/dev/tty", O_RDWR);

	tell("/dev/tty", fd > 0);
	printf("ttyname of it %s\n", ttyname(fd));
	tell("TIOCGSID", ioctl(s, TIOCGSID, &sid));
	printf("mine %d, foreground %d\n", sid == getpid(), tcgetpgrp(s) == getpgrp());
	type(m, "abc\003def\n");
	told("^C");
	show("echo", m, 100);
	show("line", s, 100);
	type(m, "\034");
	told("^\\");
	type(m, "\032");
	told("^Z");
	show("echo", m, 100);
	ioctl(m, TIOCSWINSZ, &w);
	told("size");
	ioctl(s, TIOCSWINSZ, &w);
	told("the same size");
	set(s, 0, 0, 0, NOFLSH);
	type(m, "abc\003def\n");
	told("^C with NOFLSH");
	show("line", s, 100);
	set(s, 0, 0, ISIG, 0);
	type(m, "\003\n");
	told("no ISIG");
	show("line", s, 100);
	tell("TIOCSCTTY again", ioctl(s, TIOCSCTTY, 0));
	tell("TIOCNOTTY", ioctl(fd, TIOCNOTTY));
	settle();
	told("TIOCNOTTY");
	tell("no terminal", open("/dev/tty", O_RDWR));
	tell("tcgetpgrp", tcgetpgrp(s));
	tell("TIOCSCTTY", ioctl(s, TIOCSCTTY, 0));
	tell("tcgetpgrp is mine", tcgetpgrp(s) == getpgrp());
}

static void groups(int m, int s)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		setpgid(0, 0);
		settle();
		tell("read in the background", read(s, buffer, 10));
		told("read");
		tell("write in the background", write(s, "out", 3));
		told("write");
		set(s, 0, 0, 0, TOSTOP);
		told("set");
		signal(SIGTTOU, SIG_IGN);
		set(s, 0, 0, 0, TOSTOP);
		tell("write with TOSTOP, ignored", write(s, "out", 3));
		take();
		tell("write with TOSTOP", write(s, "out", 3));
		told("write");
		signal(SIGTTIN, SIG_IGN);
		tell("read, ignored", read(s, buffer, 10));
		signal(SIGTTIN, SIG_DFL);
		tell("set foreground", tcsetpgrp(s, getpid()));
		told("set foreground");
		fflush(stdout);
		tell("stopped, then in front", read(s, buffer, 10));
		fflush(stdout);
		_exit(7);
	}
	waitpid(pid, &status, WUNTRACED);
	printf("stopped by %s\n", WIFSTOPPED(status) ? sigabbrev_np(WSTOPSIG(status)) : "nothing");
	told("parent");
	tell("give it the terminal", tcsetpgrp(s, pid));
	fflush(stdout);
	kill(pid, SIGCONT);
	type(m, "front\n");
	waitpid(pid, &status, 0);
	tell("it ended", WEXITSTATUS(status));
	tell("no such group", tcsetpgrp(s, 999999));
	signal(SIGTTOU, SIG_IGN);
	tell("no such group", tcsetpgrp(s, 999999));
	tell("negative", tcsetpgrp(s, -5));
	tell("of another session", tcsetpgrp(s, getppid()));
	tell("mine", tcsetpgrp(s, getpid()));
}

static void orphan(int m, int s)
{
	pid_t pid = fork();

	(void)m;
	if (!pid) {
		if (!fork()) {
			setpgid(0, 0);
			settle_long();
			tell("read of an orphan", read(s, buffer, 10));
			told("orphan");
			fflush(stdout);
			_exit(0);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	settle_long();
	settle_long();
}

static void hung_up(int m, int s)
{
	struct termios t;

	close(m);
	settle();
	told("the master is closed");
	show("read", s, 10);
	tell("write", write(s, "x", 1));
	events("poll", s);
	tell("tcgetattr", tcgetattr(s, &t));
	tell("tcsetpgrp", tcsetpgrp(s, getpid()));
	tell("/dev/tty", open("/dev/tty", O_RDWR));
}

static void leader_ends(int m, int s)
{
	(void)m;
	if (!fork()) {
		signal(SIGHUP, SIG_DFL);
		pause();
		_exit(0);
	}
	settle_long();
	close(s);
}

static void ends(void)
{
	int s, m = pair(&s);
	pid_t pid;

	write(s, "last", 4);
	close(s);
	events("the slave is closed", m);
	show("what it wrote", m, 10);
	show("then", m, 10);
	tell("write", write(m, "x", 1));
	s = open(ptsname(m), O_RDWR | O_NOCTTY);
	events("open again", m);
	show("read", m, 10);
	pid = fork();
	if (!pid) {
		close(m);
		show("the slave reads", s, 10);
		_exit(0);
	}
	settle_long();
	close(m);
	waitpid(pid, NULL, 0);
	m = pair(&s);
	fcntl(s, F_SETFL, O_NONBLOCK);
	memset(buffer, 'x', sizeof(buffer));
	set(s, 0, 0, ECHO, 0);
	tell("much in a line", write(m, buffer, 3000));
	tell("and more", write(m, "\n", 1));
	settle();
	tell("line", read(s, buffer, sizeof(buffer)));
}

static const struct {
	const char *name;
	void (*run)(void);
	void (*session)(int m, int s);
} parts[] = {
	{ "opening", opening, NULL },
	{ "editing", editing, NULL },
	{ "output", output, NULL },
	{ "raw", raw, NULL },
	{ "keys", NULL, keys },
	{ "groups", NULL, groups },
	{ "orphan", NULL, orphan },
	{ "hung_up", NULL, hung_up },
	{ "leader_ends", NULL, leader_ends },
	{ "ends", ends, NULL },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++)
		if (argc > 1 && !strcmp(argv[1], parts[i].name)) {
			if (parts[i].run)
				parts[i].run();
			else
				in_session(parts[i].session);
		}
	return 0;
}
