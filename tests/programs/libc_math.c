/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arithmetic of libm that SSE computes, rounding, and integers. What x87 computes otherwise in the
 * engine is compared in tests/guests/floating_point.c.
 */
#define _GNU_SOURCE
#include <complex.h>
#include <fenv.h>
#include <inttypes.h>
#include <math.h>

#include "libc_check.h"

static double value(int i)
{
	static volatile const double values[] = {
		0.0, -0.0, 0.5, 1.0, -1.5, 2.5, 3.14159265358979, 1e-300, 1e300, 700.5
	};

	return values[i];
}

CHECK(math_functions)
{
	for (int i = 0; i < 10; i++) {
		double x = value(i);

		say("%.17g: exp %.17g log %.17g sqrt %.17g cbrt %.17g", x, exp(x), log(fabs(x)),
		    sqrt(fabs(x)), cbrt(x));
		say("sin %.17g cos %.17g tan %.17g atan %.17g", sin(x), cos(x), tan(x), atan(x));
		say("pow %.17g sinh %.17g tanh %.17g erf %.17g", pow(fabs(x), 1.7), sinh(x),
		    tanh(x), erf(x));
		say("lgamma %.17g tgamma %.17g expm1 %.17g log1p %.17g", lgamma(x + 0.25),
		    tgamma(x + 0.25), expm1(x), log1p(fabs(x)));
		say("hypot %.17g fma %.17g atan2 %.17g", hypot(x, 2), fma(x, x, 1e-20),
		    atan2(x, -2));
		say("float %.9g %.9g %.9g", sinf(x), expf(x), powf(fabs(x), 0.3f));
	}
}

CHECK(math_rounding)
{
	static const int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };

	for (int mode = 0; mode < 4; mode++) {
		fesetround(modes[mode]);
		for (int i = 2; i < 6; i++)
			say("%d: %g %ld %g %g %g", mode, rint(value(i)), lrint(value(i)),
			    nearbyint(value(i)), floor(value(i)), round(value(i)));
		say("third %.20g %.20g", value(3) / (value(3) + 2), -value(3) / (value(3) + 2));
	}
}

CHECK(math_parts)
{
	double whole;
	int exponent;

	for (int i = 0; i < 10; i++) {
		double part = modf(value(i), &whole), fraction = frexp(value(i), &exponent);

		say("%g + %g, %.17g * 2^%d", whole, part, fraction, exponent);
		say("next %.17g, class %d, sign %d, ilogb %d", nextafter(value(i), 9e9),
		    fpclassify(value(i)), signbit(value(i)) != 0, ilogb(value(i)));
		say("fmod %.17g remainder %.17g", fmod(value(i), 0.7), remainder(value(i), 0.7));
	}
	say("%d %d", isnan(value(0) / value(1)) != 0, isinf(value(3) / value(1)));
}

CHECK(math_complex)
{
	double complex z = value(6) + 2.0 * I;

	say("%.15g %.15g", creal(csqrt(z)), cimag(csqrt(z)));
	say("%.15g %.15g", cabs(z), carg(z));
	say("%.15g %.15g", creal(z * z / (1 + I)), cimag(z * z / (1 + I)));
}

CHECK(math_integers)
{
	volatile int64_t a = INT64_MIN, b = 7;
	volatile unsigned __int128 wide = (unsigned __int128)UINT64_MAX * 12345;

	say("%" PRId64 " %" PRId64 " %lld", a / b, a % b, llabs(-5));
	say("%" PRIu64 " %" PRIu64, (uint64_t)(wide / 1000003), (uint64_t)(wide % 1000003));
	say("%d %d %d", ffs(0x50), __builtin_popcountll(a - 1), __builtin_clzll(b));
	say("%ld %ld", ldiv(-7, 2).quot, ldiv(-7, 2).rem);
}
