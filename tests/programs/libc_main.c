/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs all checks, or those whose names begin with an argument, each in a child and in an empty
 * directory of its own below the working directory.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "libc_check.h"

extern const struct check __start_checks[], __stop_checks[];
static const char *current;

void say(const char *format, ...)
{
	char text[4096];
	va_list arguments;
	int length = snprintf(text, sizeof(text), "%s: ", current);

	va_start(arguments, format);
	length += vsnprintf(text + length, sizeof(text) - length - 1, format, arguments);
	va_end(arguments);
	if (length > (int)sizeof(text) - 2)
		length = sizeof(text) - 2;
	text[length++] = '\n';
	if (write(1, text, length) != length)
		_exit(3);
}

const char *outcome(long result)
{
	static _Thread_local char text[32];

	if (result != -1)
		return "ok";
	switch (errno) {
#define ERROR(name) \
	case name:  \
		return #name;
		ERROR(EPERM)
		ERROR(ENOENT)
		ERROR(ESRCH)
		ERROR(EINTR)
		ERROR(EBADF)
		ERROR(ECHILD)
		ERROR(EAGAIN)
		ERROR(ENOMEM)
		ERROR(EACCES)
		ERROR(EFAULT)
		ERROR(EBUSY)
		ERROR(EEXIST)
		ERROR(ENOTDIR)
		ERROR(EISDIR)
		ERROR(EINVAL)
		ERROR(EMFILE)
		ERROR(ENOTTY)
		ERROR(ESPIPE)
		ERROR(EROFS)
		ERROR(EPIPE)
		ERROR(EDOM)
		ERROR(ERANGE)
		ERROR(EDEADLK)
		ERROR(ENAMETOOLONG)
		ERROR(ENOSYS)
		ERROR(ENOTEMPTY)
		ERROR(ELOOP)
		ERROR(EILSEQ)
		ERROR(EOVERFLOW)
		ERROR(ETIMEDOUT)
		ERROR(EOWNERDEAD)
		ERROR(ENOTRECOVERABLE)
		ERROR(ECONNREFUSED)
		ERROR(EADDRINUSE)
		ERROR(ENOTCONN)
		ERROR(ECONNRESET)
		ERROR(ENXIO)
		ERROR(EMSGSIZE)
		ERROR(ETXTBSY)
		ERROR(ENOEXEC)
		ERROR(EIDRM)
		ERROR(ENOMSG)
		ERROR(ENOSPC)
		ERROR(EAFNOSUPPORT)
		ERROR(EINPROGRESS)
		ERROR(EISCONN)
		ERROR(ENOTSOCK)
#undef ERROR
	}
	snprintf(text, sizeof(text), "errno %d", errno);
	return text;
}

void give_up(const char *what)
{
	say("cannot be checked: %s: %s", what, strerror(errno));
	_exit(4);
}

static int wanted(const char *name, int argc, char **argv)
{
	if (argc < 2)
		return 1;
	for (int i = 1; i < argc; i++)
		if (!strncmp(name, argv[i], strlen(argv[i])))
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	for (const struct check *check = __start_checks; check < __stop_checks; check++) {
		int status;
		pid_t pid;

		if (!wanted(check->name, argc, argv))
			continue;
		current = check->name;
		pid = fork();
		if (!pid) {
			alarm(60);
			umask(022);
			if (mkdir(current, 0755) || chdir(current))
				give_up(current);
			check->run();
			fflush(stdout);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			give_up("fork");
		if (WIFSIGNALED(status))
			say("killed by %s", strsignal(WTERMSIG(status)));
		else if (WEXITSTATUS(status))
			say("exit %d", WEXITSTATUS(status));
	}
	return 0;
}
