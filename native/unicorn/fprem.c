/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FPREM and FPREM1 (SDM vol. 2 FPREM, FPREM1), exactly: Unicorn rounds their operands to 53 bits.
 * musl's strtod() and every fmodl() are made of them.
 *
 *    79  78        64 63                       0
 *   +---+------------+-+-------------------------+
 *   | s |  exponent  |1|        fraction         |	bit 63, the integer bit, is 0 in zeros and
 * denormals only
 *   +---+------------+-+-------------------------+
 */
#include <string.h>

#include "unicorn/vcpu.h"

#define SIGN 0x8000
#define EXPONENT 0x7fff
#define INTEGER_BIT (1ull << 63)
#define QUIET_BIT (1ull << 62)
#define FSW_IE 0x0001
#define FSW_SF 0x0040
#define FSW_ES 0x8080 /* with B, its copy */
#define FSW_C0 0x0100
#define FSW_C1 0x0200
#define FSW_C2 0x0400
#define FSW_C3 0x4000
#define TAG_EMPTY 3

typedef unsigned __int128 u128;

struct floatx80 {
	u64 significand;
	u16 high; /* sign and exponent */
};

/* |value| as significand * 2^exponent, its bit 63 set; only of finite values that are not 0. */
struct magnitude {
	u64 significand;
	s32 exponent;
};

static bool is_zero(const struct floatx80 *x)
{
	return !x->significand && !(x->high & EXPONENT);
}

static bool is_infinity(const struct floatx80 *x)
{
	return (x->high & EXPONENT) == EXPONENT && x->significand == INTEGER_BIT;
}

static bool is_nan(const struct floatx80 *x)
{
	return (x->high & EXPONENT) == EXPONENT && x->significand > INTEGER_BIT;
}

/* Unnormals, pseudo-NaNs and pseudo-infinities (SDM vol. 1 table 8-3). */
static bool is_unsupported(const struct floatx80 *x)
{
	return (x->high & EXPONENT) && !(x->significand & INTEGER_BIT);
}

static struct magnitude magnitude_of(const struct floatx80 *x)
{
	u32 exponent = x->high & EXPONENT, shift = (u32)__builtin_clzll(x->significand);

	return (struct magnitude){ x->significand << shift,
				   (s32)(exponent ? exponent : 1) - (s32)shift };
}

/* significand * 2^exponent with a sign; what is below the least normal number is a denormal, exact
 * here. */
static struct floatx80 pack(u64 significand, s32 exponent, u16 sign)
{
	u32 shift;

	if (!significand)
		return (struct floatx80){ 0, sign };
	shift = (u32)__builtin_clzll(significand);
	if (exponent > (s32)shift)
		return (struct floatx80){ significand << shift,
					  (u16)(sign | (u16)(exponent - (s32)shift)) };
	if (exponent >= 1)
		return (struct floatx80){ significand << (exponent - 1), sign };
	return (struct floatx80){ significand >> (1 - exponent), sign };
}

/* steps + 1 bits of the quotient of *remainder and divisor; *remainder becomes what is left, one
 * divisor's exponent lower each step. */
static u64 divide(u64 *remainder, u64 divisor, u32 steps)
{
	u128 left = *remainder;
	u64 quotient = 0;

	for (u32 i = 0;; i++) {
		quotient <<= 1;
		if (left >= divisor) {
			left -= divisor;
			quotient |= 1;
		}
		if (i == steps)
			break;
		left <<= 1;
	}
	*remainder = (u64)left;
	return quotient;
}

/* A whole remainder, to the nearest for FPREM1; returns the quotient's low bits. */
static u64 reduce(struct magnitude a, struct magnitude b, bool nearest, u16 sign,
		  struct floatx80 *result)
{
	s32 distance = a.exponent - b.exponent;
	u64 left = a.significand, quotient = 0;
	s32 exponent = distance < 0 ? a.exponent : b.exponent;

	if (distance >= 0)
		quotient = divide(&left, b.significand, (u32)distance);
	if (nearest && distance >= -1) {
		/* Of the divisor and twice what is left, in units of what is left. */
		u128 twice = (u128)left << 1, divisor = (u128)b.significand << (distance < 0);

		if (twice > divisor || (twice == divisor && quotient & 1)) {
			left = (u64)(divisor - left);
			sign ^= SIGN;
			quotient++;
		}
	}
	*result = pack(left, exponent, sign);
	return quotient;
}

/* The condition codes of a whole reduction: C0, C3, C1 are bits 2, 1, 0 of the quotient. */
static u32 codes_of(u64 quotient)
{
	return (quotient & 4 ? FSW_C0 : 0) | (quotient & 2 ? FSW_C3 : 0) |
	       (quotient & 1 ? FSW_C1 : 0);
}

static u32 remainder_of(const struct floatx80 *a, const struct floatx80 *b, bool nearest,
			struct floatx80 *result)
{
	struct magnitude left, divisor;
	s32 distance;
	u32 steps;

	*result = *a;
	if (is_zero(a) || is_infinity(b))
		return 0;
	left = magnitude_of(a);
	divisor = magnitude_of(b);
	distance = left.exponent - divisor.exponent;
	if (distance < 64) {
		u16 sign = a->high & SIGN;
		u64 quotient = reduce(left, divisor, nearest, sign, result);

		if (!result->significand)
			result->high = sign;
		return codes_of(quotient);
	}
	steps = 32 + (u32)distance % 32; /* 32 to 63: which, is the processor's choice */
	divide(&left.significand, divisor.significand, steps);
	*result = pack(left.significand, divisor.exponent + distance - (s32)steps, a->high & SIGN);
	return FSW_C2;
}

/* The result of operands that have no remainder: a NaN of theirs, made quiet, or the default one.
 */
static struct floatx80 invalid_result(const struct floatx80 *a, const struct floatx80 *b)
{
	const struct floatx80 *nan =
		is_nan(a) && (!is_nan(b) || a->significand >= b->significand) ? a : b;

	if (is_unsupported(a) || is_unsupported(b) || !is_nan(nan))
		return (struct floatx80){ INTEGER_BIT | QUIET_BIT, SIGN | EXPONENT };
	return (struct floatx80){ nan->significand | QUIET_BIT, nan->high };
}

static bool is_signalling(const struct floatx80 *x)
{
	return is_nan(x) && !(x->significand & QUIET_BIT);
}

static struct floatx80 read_st(const struct vcpu *v, u32 top, u32 n)
{
	struct floatx80 x = { 0, 0 };
	u8 bytes[16] = { 0 };

	UC(v, reg_read)(v->uc, UC_X86_REG_FP0 + (int)((top + n) & 7), bytes);
	memcpy(&x.significand, bytes, 8);
	memcpy(&x.high, bytes + 8, 2);
	return x;
}

static void write_st0(const struct vcpu *v, u32 top, const struct floatx80 *x)
{
	u8 bytes[16] = { 0 };

	memcpy(bytes, &x->significand, 8);
	memcpy(bytes + 8, &x->high, 2);
	UC(v, reg_write)(v->uc, UC_X86_REG_FP0 + (int)top, bytes);
}

/* An invalid operation: flags, and the default result if its exception is masked. */
static u64 signal_invalid(const struct vcpu *v, u64 fsw, u64 flags, u32 top,
			  const struct floatx80 *result)
{
	if (!(reg_read(v, UC_X86_REG_FPCW) & FSW_IE))
		return fsw | flags | FSW_ES;
	write_st0(v, top, result);
	return fsw | flags;
}

static bool is_empty(const struct vcpu *v, u32 nr)
{
	return (reg_read(v, UC_X86_REG_FPTAG) >> (2 * (nr & 7)) & 3) == TAG_EMPTY;
}

/* ST(0) becomes its remainder by ST(1); nearest: FPREM1. */
void fprem(struct vcpu *v, bool nearest)
{
	u64 fsw = reg_read(v, UC_X86_REG_FPSW);
	u32 top = fsw >> 11 & 7;
	struct floatx80 a = read_st(v, top, 0), b = read_st(v, top, 1),
			result = invalid_result(&a, &b);

	fsw &= ~(u64)(FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3);
	if (is_empty(v, top) || is_empty(v, top + 1)) {
		static const struct floatx80 indefinite = { INTEGER_BIT | QUIET_BIT,
							    SIGN | EXPONENT };

		fsw = signal_invalid(v, fsw, FSW_IE | FSW_SF, top, &indefinite);
	} else if (is_unsupported(&a) || is_unsupported(&b) || is_signalling(&a) ||
		   is_signalling(&b) ||
		   (!is_nan(&a) && !is_nan(&b) && (is_infinity(&a) || is_zero(&b)))) {
		fsw = signal_invalid(v, fsw, FSW_IE, top, &result);
	} else {
		if (!is_nan(&a) && !is_nan(&b))
			fsw |= remainder_of(&a, &b, nearest, &result);
		write_st0(v, top, &result);
	}
	reg_write(v, UC_X86_REG_FPSW, fsw);
}
