/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Bochs' wheel wants of glibc 2.38, for an older one. Preloaded into the child process only.
 * C23's forms differ in that they read binary numbers, of which Bochs has none.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

unsigned long long __isoc23_strtoull(const char *text, char **end, int base);
int __isoc23_sscanf(const char *text, const char *format, ...);

unsigned long long __isoc23_strtoull(const char *text, char **end, int base)
{
	return strtoull(text, end, base);
}

int __isoc23_sscanf(const char *text, const char *format, ...)
{
	va_list list;
	int fields;

	va_start(list, format);
	fields = vsscanf(text, format, list);
	va_end(list);
	return fields;
}
