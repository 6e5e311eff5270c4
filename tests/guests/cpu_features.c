// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Instructions of each feature that CPUID here advertises, with what they compute, and of CET,
 * which are NOPs where it is off.
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void told(const char *name, __m128i value)
{
	uint64_t words[2];

	memcpy(words, &value, sizeof(words));
	printf("%s %016lx%016lx\n", name, words[1], words[0]);
}

int main(void)
{
	__m128i a = _mm_set_epi32(0x01234567, (int)0x89abcdef, 0x7fffffff, (int)0x80000001);
	__m128i b = _mm_set_epi32(0x10203040, 0x05060708, (int)0xf0e0d0c0, 0x0b0a0908);
	__m128 x = _mm_set_ps(1.5f, -2.25f, 3.75f, 0.5f), y = _mm_set_ps(2, 4, -8, 0.125f);
	__attribute__((aligned(16))) unsigned long pair[2] = { 1, 2 };
	unsigned long rax = 1, rdx = 2, shadow = 77;
	unsigned char equal, flags;
	char text[16] = "needle in hay", set[16] = "dn";

	told("pni addsubps", (__m128i)_mm_addsub_ps(x, y));
	told("pni haddps", (__m128i)_mm_hadd_ps(x, y));
	told("ssse3 pshufb", _mm_shuffle_epi8(a, b));
	told("ssse3 pmaddubsw", _mm_maddubs_epi16(a, b));
	told("ssse3 palignr", _mm_alignr_epi8(a, b, 5));
	told("sse4_1 pmulld", _mm_mullo_epi32(a, b));
	told("sse4_1 dpps", (__m128i)_mm_dp_ps(x, y, 0x7f));
	told("sse4_1 roundps", (__m128i)_mm_round_ps(x, _MM_FROUND_TO_NEAREST_INT));
	told("sse4_1 mpsadbw", _mm_mpsadbw_epu8(a, b, 5));
	told("sse4_1 phminposuw", _mm_minpos_epu16(a));
	told("sse4_1 blendvb", _mm_blendv_epi8(a, b, _mm_add_epi8(a, b)));
	told("sse4_2 pcmpgtq", _mm_cmpgt_epi64(a, b));
	memcpy(&a, text, 16);
	memcpy(&b, set, 16);
	printf("sse4_2 pcmpistri %d\n", _mm_cmpistri(b, a, _SIDD_CMP_EQUAL_ANY));
	told("sse4_2 pcmpestrm", _mm_cmpestrm(b, 2, a, 13, _SIDD_UNIT_MASK | _SIDD_CMP_EQUAL_ANY));
	printf("sse4_2 crc32 %08x\n", _mm_crc32_u32(0xdeadbeef, 0x12345678));
	printf("popcnt %d %lld\n", _mm_popcnt_u32(0xf0f0), _mm_popcnt_u64(~0ull >> 3));
	told("pclmulqdq", _mm_clmulepi64_si128(a, b, 0x01));
	told("aes aesenc", _mm_aesenc_si128(a, b));
	told("aes aesenclast", _mm_aesenclast_si128(a, b));
	told("aes aesdec", _mm_aesdec_si128(a, b));
	told("aes aesdeclast", _mm_aesdeclast_si128(a, b));
	told("aes aesimc", _mm_aesimc_si128(a));
	told("aes aeskeygenassist", _mm_aeskeygenassist_si128(a, 0x1b));
	asm volatile("lock cmpxchg16b %1; sete %0"
		     : "=q"(equal), "+m"(*(__int128 *)pair), "+a"(rax), "+d"(rdx)
		     : "b"(5ul), "c"(6ul)
		     : "cc");
	printf("cx16 %d %lu %lu\n", equal, pair[0], pair[1]);
	asm volatile("stc; lahf; mov %%ah, %0" : "=Q"(flags) : : "rax", "cc");
	printf("lahf_lm %02x\n", flags & 1);
	asm volatile("endbr64; .byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8" : "+a"(shadow));
	printf("endbr64, rdsspq %lu\n", shadow);
	asm volatile("prefetchw %0; nopw %0" : "+m"(pair[0]));
	return 0;
}
