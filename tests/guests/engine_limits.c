/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line for each thing that Unicorn may do otherwise than a processor: its name, and what came
 * out, as hexadecimal numbers.  Natively, and here: test_engine_limits.py knows which lines must
 * differ, and how.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static sigjmp_buf back;

/* Alignment checks stay on in a handler. */
static void handler(int signo)
{
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" : : : "cc");
	siglongjmp(back, signo);
}

/* Say which signal, or none, a statement ends in. */
#define SIGNAL_OF(name, ...)                           \
	do {                                           \
		int signo = sigsetjmp(back, 1);        \
		if (!signo)                            \
			__asm__ volatile(__VA_ARGS__); \
		printf("%s %x\n", name, signo);        \
	} while (0)

/* Say ST(0) after x87 instructions that begin with y in ST(1) and x in ST(0). */
#define X87(name, y, x, code)                                                           \
	do {                                                                            \
		volatile long double a = (y), b = (x);                                  \
		long double st;                                                         \
		unsigned char raw[16];                                                  \
		unsigned short exponent;                                                \
		uint64_t significand;                                                   \
		__asm__ volatile("fninit; fldt %1; fldt %2; " code "; fstpt %0; fninit" \
				 : "=m"(st)                                             \
				 : "m"(a), "m"(b));                                     \
		memcpy(raw, &st, 10);                                                   \
		memcpy(&significand, raw, 8);                                           \
		memcpy(&exponent, raw + 8, 2);                                          \
		printf("%s %x %lx\n", name, exponent, significand);                     \
	} while (0)

/* Say FSW after x87 instructions, without C0, C2 and C3, which some leave undefined. */
#define FSW(name, code)                                                \
	do {                                                           \
		unsigned short fsw;                                    \
		__asm__ volatile("fninit; " code "; fnstsw %0; fninit" \
				 : "=m"(fsw), "=m"(scratch)            \
				 : "m"(big), "m"(third));              \
		printf("%s %x\n", name, fsw & 0x3aff);                 \
	} while (0)

static void transcendental(void)
{
	X87("FSIN", 0, 0.7L, "fsin");
	X87("FCOS", 0, 0.7L, "fcos");
	X87("FSINCOS", 0, 0.7L, "fsincos; fxch");
	X87("FPTAN", 0, 0.7L, "fptan; fstp %%st(0)");
	X87("FPATAN", 0.3L, 0.7L, "fpatan");
	X87("F2XM1", 0, 0.3L, "f2xm1");
	X87("FYL2X", 1.0L, 0.7L, "fyl2x");
	X87("FYL2XP1", 1.0L, 0.1L, "fyl2xp1");
	X87("FPREM", 0.1L, 1e5L / 3, "fprem");
	X87("FPREM1", 0.1L, 1e5L / 3, "fprem1");
	X87("FYL2X-of-0", 1.0L, 0.0L, "fyl2x");
	X87("FYL2X-of-minus-1", 1.0L, -1.0L, "fyl2x");
	X87("F2XM1-of-minus-0", 0, -0.0L, "f2xm1");
	X87("FXTRACT-of-infinity", 0, __builtin_infl(), "fxtract; fxch");
	X87("FSQRT", 0, 0.7L, "fsqrt");
	X87("FDIV", 3, 0.7L, "fdiv %%st(1), %%st");
	X87("FSCALE", 3, 0.7L, "fscale");
	X87("FRNDINT", 0, 1e17L / 3, "frndint");
	X87("FXTRACT", 0, 0.7L, "fxtract");
	X87("FLDPI", 0, 0, "fldpi");
}

static void precision_and_rounding(void)
{
	static const struct {
		const char *name;
		unsigned short fcw;
	} modes[] = {
		{ "FCW-single", 0x7f }, { "FCW-double", 0x27f }, { "FCW-down", 0x77f },
		{ "FCW-up", 0xb7f },	{ "FCW-chop", 0xf7f },
	};
	static const short three = 3;

	for (unsigned int i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		long double st;
		uint64_t significand;

		__asm__ volatile("fninit; fldcw %1; fld1; fidivs %2; fstpt %0; fninit"
				 : "=m"(st)
				 : "m"(modes[i].fcw), "m"(three));
		memcpy(&significand, &st, 8);
		printf("%s %lx\n", modes[i].name, significand);
		__asm__ volatile("fninit; fldcw %1; fldpi; fstpt %0; fninit"
				 : "=m"(st)
				 : "m"(modes[i].fcw));
		memcpy(&significand, &st, 8);
		printf("%s-FLDPI %lx\n", modes[i].name, significand);
	}
}

static void flags(void)
{
	static const double big = 1e308, tiny = 1e-308;
	static const float third = 0x1p-149f;
	static unsigned char env[28], image[512] __attribute__((aligned(16)));
	static unsigned long denormal = 1;
	uint32_t word;
	float scratch;

	FSW("FSW-PE", "fldpi; fmul %%st, %%st");
	FSW("FSW-ZE", "fld1; fldz; fdivrp");
	FSW("FSW-IE", "fldz; fchs; fld1; fchs; fsqrt");
	FSW("FSW-OE", "fldl %2; fstps %1");
	FSW("FSW-DE", "flds %3; fstp %%st(0)");
	FSW("FSW-SF", "fld1; fstp %%st(0); fstp %%st(0)");
	__asm__ volatile("fninit; fldl %1; fnstenv %0; fninit" : "=m"(env) : "m"(big));
	memcpy(&word, env, 4);
	printf("FNSTENV-upper-halves %x\n", word >> 16);
	memcpy(&word, env + 12, 4);
	printf("FIP %x\n", word != 0);
	memcpy(&word, env + 20, 4);
	printf("FDP %x\n", word != 0);
	__asm__ volatile("fninit; movq %1, %%mm0; fxsave %0; emms" : "=m"(image) : "m"(big));
	printf("MMX-exponent %x\n", image[32 + 8] | image[32 + 9] << 8);

	word = 0x1f80;
	__asm__ volatile(
		"ldmxcsr %0; movss %1, %%xmm0; divss %%xmm0, %%xmm0; cvtsi2sd %2, %%xmm1; movsd %3, %%xmm2;"
		"divsd %%xmm1, %%xmm2; stmxcsr %0"
		: "+m"(word)
		: "m"(third), "r"(3), "m"(big)
		: "xmm0", "xmm1", "xmm2");
	printf("MXCSR-PE %x\n", word & 0x20);
	word = 0x1f80;
	__asm__ volatile("ldmxcsr %0; xorpd %%xmm0, %%xmm0; divsd %%xmm0, %%xmm0; stmxcsr %0"
			 : "+m"(word)
			 :
			 : "xmm0");
	printf("MXCSR-IE %x\n", word & 0x1);
	word = 0x1f80 | 0x8040;
	__asm__ volatile("ldmxcsr %0" : : "m"(word));
	{
		unsigned long sum, product;

		__asm__ volatile(
			"movq %2, %%xmm0; addsd %%xmm0, %%xmm0; movq %%xmm0, %0; movq %3, %%xmm1;"
			"mulsd %%xmm1, %%xmm1; movq %%xmm1, %1"
			: "=r"(sum), "=r"(product)
			: "m"(denormal), "m"(tiny)
			: "xmm0", "xmm1");
		printf("DAZ %lx\nFTZ %lx\n", sum, product);
	}
	word = 0x1f80;
	__asm__ volatile("ldmxcsr %0" : : "m"(word));
}

static void approximations(void)
{
	float x = 3.0f, r, s;
	uint32_t bits[2];

	__asm__("rcpss %2, %0; rsqrtss %2, %1" : "=x"(r), "=x"(s) : "x"(x));
	memcpy(&bits[0], &r, 4);
	memcpy(&bits[1], &s, 4);
	printf("RCPSS %x\nRSQRTSS %x\n", bits[0], bits[1]);
}

static void exceptions(void)
{
	static const uint32_t unmasked = 0x1d80, masked = 0x1f80;
	static unsigned char room[64] __attribute__((aligned(64)));

	signal(SIGFPE, handler);
	signal(SIGSEGV, handler);
	signal(SIGBUS, handler);
	SIGNAL_OF("SIMD-exception",
		  "ldmxcsr %0; mov $1, %%eax; cvtsi2sd %%eax, %%xmm0; xorpd %%xmm1, %%xmm1;"
		  "divsd %%xmm1, %%xmm0" : : "m"(unmasked) : "eax",
		  "xmm0", "xmm1");
	__asm__ volatile("ldmxcsr %0" : : "m"(masked));
	SIGNAL_OF("misaligned-MOVAPS", "movaps 4(%0), %%xmm0" : : "r"(room) : "xmm0");
	SIGNAL_OF("misaligned-PADDD", "paddd 4(%0), %%xmm0" : : "r"(room) : "xmm0");
	SIGNAL_OF("alignment-check",
		  "pushfq; orl $0x40000, (%%rsp); popfq; mov 1(%0), %%eax" : : "r"(room) : "eax",
		  "cc");
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" : : : "cc");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	transcendental();
	precision_and_rounding();
	flags();
	approximations();
	exceptions();
	return 0;
}
