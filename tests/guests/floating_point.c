/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Floating-point vectors, one line each: function, rounding mode, arguments, result, all as bits.
 * libm's functions in their three types over hard and pseudo-random arguments, casts, printf and
 * strtod.  The argument "small" makes fewer.
 */
#define _GNU_SOURCE
#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *mode = "";
static uint64_t seed = 0x9e3779b97f4a7c15;
static long double args[64];
static int nr_args;

/* xorshift64: the same numbers natively and here. */
static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Bits of a value, NaNs told apart from numbers only: their payload and sign is each libc's and
 * processor's. */
static void bits(const void *value, int size, int nan)
{
	const unsigned char *byte = value;

	putchar(' ');
	if (nan) {
		fputs("nan", stdout);
		return;
	}
	while (size--)
		printf("%02x", byte[size]);
}

#define SAY(value, size) bits(&(value), size, isnan(value))
#define ONE(type, size, name, f)            \
	for (int i = 0; i < nr_args; i++) { \
		volatile type x = args[i];  \
		type a = x, r = f(x);       \
		printf("%s%s", name, mode); \
		SAY(a, size);               \
		SAY(r, size);               \
		putchar('\n');              \
	}
#define TWO(type, size, name, f)                                            \
	for (int i = 0; i < nr_args; i++) {                                 \
		volatile type x = args[i], y = args[(i * 7 + 3) % nr_args]; \
		type a = x, b = y, r = f(x, y);                             \
		printf("%s%s", name, mode);                                 \
		SAY(a, size);                                               \
		SAY(b, size);                                               \
		SAY(r, size);                                               \
		putchar('\n');                                              \
	}
#define INTEGER(type, size, name, f)          \
	for (int i = 0; i < nr_args; i++) {   \
		volatile type x = args[i];    \
		type a = x;                   \
		printf("%s%s", name, mode);   \
		SAY(a, size);                 \
		printf(" %lx\n", (long)f(x)); \
	}
#define TYPES(make, fn)                                         \
	make(double, 8, #fn, fn) make(float, 4, #fn "f", fn##f) \
		make(long double, 10, #fn "l", fn##l)
#define CAST_TO(type)                        \
	static long to_##type(long double x) \
	{                                    \
		volatile double d = x;       \
		return (type)d;              \
	}
CAST_TO(int)
CAST_TO(long)

static void functions(void)
{
	TYPES(ONE, sin);
	TYPES(ONE, cos);
	TYPES(ONE, tan);
	TYPES(ONE, asin);
	TYPES(ONE, acos);
	TYPES(ONE, atan);
	TYPES(ONE, sinh);
	TYPES(ONE, cosh);
	TYPES(ONE, tanh);
	TYPES(ONE, exp);
	TYPES(ONE, exp2);
	TYPES(ONE, expm1);
	TYPES(ONE, log);
	TYPES(ONE, log2);
	TYPES(ONE, log10);
	TYPES(ONE, log1p);
	TYPES(ONE, sqrt);
	TYPES(ONE, cbrt);
	TYPES(ONE, erf);
	TYPES(ONE, erfc);
	TYPES(ONE, lgamma);
	TYPES(ONE, tgamma);
	TYPES(ONE, rint);
	TYPES(ONE, nearbyint);
	TYPES(ONE, floor);
	TYPES(ONE, ceil);
	TYPES(ONE, trunc);
	TYPES(ONE, round);
	TYPES(ONE, logb);
	TYPES(TWO, atan2);
	TYPES(TWO, pow);
	TYPES(TWO, hypot);
	TYPES(TWO, fmod);
	TYPES(TWO, remainder);
	TYPES(TWO, fdim);
	TYPES(TWO, nextafter);
	TYPES(TWO, fmax);
	TYPES(INTEGER, lrint);
	TYPES(INTEGER, llround);
	INTEGER(double, 8, "(int)", to_int);
	INTEGER(double, 8, "(long)", to_long);
#define FMA(x, y) fma(x, y, -(x))
#define FMAF(x, y) fmaf(x, y, -(x))
#define FMAL(x, y) fmal(x, y, -(x))
	TWO(double, 8, "fma", FMA);
	TWO(float, 4, "fmaf", FMAF);
	TWO(long double, 10, "fmal", FMAL);
	{
		volatile double x = 1 + 0x1p-30, y = 1 + 0x1p-23, z = 0x1p-200;
		double r =
			fma(x, y,
			    z); /* just above the middle of two numbers: known by FE_INEXACT only */

		printf("fma_sticky%s", mode);
		SAY(r, 8);
		putchar('\n');
	}
#define SCALE(x) scalbn(x, -1060)
	ONE(double, 8, "scalbn", SCALE);
#define ADD(x, y) ((x) + (y))
#define MULTIPLY(x, y) ((x) * (y))
#define DIVIDE(x, y) ((x) / (y))
	TWO(double, 8, "+", ADD);
	TWO(float, 4, "+f", ADD);
	TWO(long double, 10, "+l", ADD);
	TWO(double, 8, "*", MULTIPLY);
	TWO(float, 4, "*f", MULTIPLY);
	TWO(long double, 10, "*l", MULTIPLY);
	TWO(double, 8, "/", DIVIDE);
	TWO(float, 4, "/f", DIVIDE);
	TWO(long double, 10, "/l", DIVIDE);
}

static void text(void)
{
	static const char *const strings[] = {
		"0.1",
		"0.3",
		"1e23",
		"9007199254740993",
		"9007199254740992.9999999999",
		"2.2250738585072011e-308",
		"2.2250738585072012e-308",
		"4.9406564584124654e-324",
		"2.4703282292062327e-324",
		"2.4703282292062328e-324",
		"1.7976931348623157e308",
		"1.7976931348623159e308",
		"1e400",
		"-1e-400",
		"0x1.8p1",
		"0x1.fffffffffffff8p0",
		"0x1.fffffffffffff7fffp0",
		"0x.8p-1074",
		"3.4028235677973366e38",
		"1.40129846432481707e-45",
		"16777217",
		"1.000000000000000111022302462515654042363166809082031250000000000000000000000000001",
		"inf",
		"nan",
		"1.18973149535723176502e4932",
		"3.6451995318824746025e-4951",
		"123456789012345678901234567890",
	};

	for (unsigned int i = 0; i < sizeof(strings) / sizeof(*strings); i++) {
		double d = strtod(strings[i], NULL);
		float f = strtof(strings[i], NULL);
		long double l = strtold(strings[i], NULL);

		printf("strtod%s %s", mode, strings[i]);
		SAY(d, 8);
		SAY(f, 4);
		SAY(l, 10);
		putchar('\n');
	}
	for (int i = 0; i < nr_args; i++) {
		double d = args[i];

		printf("printf%s %.17g %.21Lg %a %La %e %.3f %g\n", mode, d, args[i], d, args[i], d,
		       d, d);
	}
}

static void make_args(int nr_random)
{
	static const long double hard[] = {
		0.0L,
		-0.0L,
		1.0L,
		-1.0L,
		0.5L,
		0.7L,
		2.5L,
		-3.5L,
		1.0L / 3,
		3.14159265358979323846L,
		1e22L,
		22.0L,
		710.1L,
		-745.2L,
		0x1p-1074L,
		0x1p-149L,
		0x1.fffffffffffffp1023L,
		4503599627370497.5L,
		2147483647.5L,
		1e-310L,
		HUGE_VALL,
	};

	memcpy(args, hard, sizeof(hard));
	nr_args = sizeof(hard) / sizeof(*hard);
	while (nr_random--) {
		int exponent = (int)(next() % 24) - 14;

		args[nr_args++] = ldexpl((long double)(int64_t)next(), exponent - 60);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		int round;
		const char *name;
	} modes[] = {
		{ FE_TONEAREST, "" },
		{ FE_DOWNWARD, "-down" },
		{ FE_UPWARD, "-up" },
		{ FE_TOWARDZERO, "-zero" },
	};
	int small = argc > 1 && !strcmp(argv[1], "small");

	make_args(small ? 2 : 24);
	for (int i = 0; i < (small ? 1 : 4); i++) {
		mode = modes[i].name;
		fesetround(modes[i].round);
		functions();
		text();
	}
	return 0;
}
