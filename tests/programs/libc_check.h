/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A check of what libc does: a function that says what came of it, run in a child of its own.
 * The same lines must come natively and in a guest.
 */
#ifndef LIBC_CHECK_H
#define LIBC_CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct check {
	const char *name;
	void (*run)(void);
};

/* Defines and registers a check; its name is that of the function. */
#define CHECK(name)                                                                     \
	static void name(void);                                                         \
	static const struct check name##_check                                          \
		__attribute__((used, section("checks"), aligned(8))) = { #name, name }; \
	static void name(void)

/* Prints one line at once, behind the name of the check. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* The name of the error if result is -1, else "ok". */
const char *outcome(long result);

/* Ends the check: it could not even be set up. */
__attribute__((noreturn)) void give_up(const char *what);

#endif
