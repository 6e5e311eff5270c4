// SPDX-License-Identifier: GPL-2.0-or-later
/* FPREM and FPREM1 of special, random and denormal operands, looped until C2 is clear: a line each.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define INTEGER_BIT (1ull << 63)
#define CODES 0x4741 /* C3, C2, C1, C0, SF, IE */

struct floatx80 {
	uint64_t significand;
	uint16_t high;
};

static uint64_t seed = 88172645463325252ull;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void one(struct floatx80 a, struct floatx80 b, int nearest)
{
	unsigned char first[16] = { 0 }, second[16] = { 0 };
	struct floatx80 result;
	uint16_t status;

	memcpy(first, &a.significand, 8);
	memcpy(first + 8, &a.high, 2);
	memcpy(second, &b.significand, 8);
	memcpy(second + 8, &b.high, 2);
	__asm__ volatile("fninit; fldt %0; fldt %1" : : "m"(second), "m"(first));
	do {
		if (nearest)
			__asm__ volatile("fprem1; fnstsw %0" : "=a"(status));
		else
			__asm__ volatile("fprem; fnstsw %0" : "=a"(status));
	} while (status & 0x400);
	__asm__ volatile("fstpt %0" : "=m"(first));
	memcpy(&result.significand, first, 8);
	memcpy(&result.high, first + 8, 2);
	printf("%d %04x%016lx %04x%016lx: %04x%016lx %04x\n", nearest, a.high, a.significand,
	       b.high, b.significand, result.high, result.significand, status & CODES);
}

/* Zeros, infinities, NaNs, denormals, what is unsupported, and small numbers, each with each. */
static void specials(void)
{
	static const struct floatx80 special[] = {
		{ 0, 0 },
		{ 0, 0x8000 },
		{ INTEGER_BIT, 0x7fff },
		{ INTEGER_BIT, 0xffff },
		{ 3ull << 62, 0x7fff },
		{ 5ull << 61, 0x7fff },
		{ 1, 0 },
		{ 1ull << 62, 0 },
		{ 1ull << 62, 0x4000 },
		{ INTEGER_BIT, 0x3fff },
		{ INTEGER_BIT, 0x4000 },
		{ 3ull << 62, 0x3fff },
		{ ~0ull, 0x7ffe },
		{ INTEGER_BIT, 1 },
		{ 123, 0x7fff },
		{ INTEGER_BIT, 0xbfff },
	};
	int nr = sizeof(special) / sizeof(*special);

	for (int i = 0; i < nr * nr; i++) {
		one(special[i / nr], special[i % nr], 0);
		one(special[i / nr], special[i % nr], 1);
	}
}

static struct floatx80 number(void)
{
	struct floatx80 x = { draw() | INTEGER_BIT, (uint16_t)(0x3f00 + draw() % 0x200) };

	if (draw() % 3 == 0)
		x.significand &= ~0ull << draw() % 64;
	if (draw() & 1)
		x.high |= 0x8000;
	x.significand |= INTEGER_BIT;
	return x;
}

int main(void)
{
	specials();
	for (int i = 0; i < 8000; i++) {
		struct floatx80 a = number(), b = number();

		if (i % 4 == 0)
			b.high = (uint16_t)(a.high - draw() % 4);
		one(a, b, i & 1);
	}
	for (int i = 0; i < 1000; i++) {
		struct floatx80 a = { draw() >> (1 + draw() % 63), 0 },
				b = { draw() >> (1 + draw() % 63), 0 };

		one(a, b, i & 1);
	}
	return 0;
}
