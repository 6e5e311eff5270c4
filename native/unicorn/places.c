/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the words of env.c stand: an instance of its own is brought from a state in which each is
 * known to one in which it is known to be another. A place where a saved context holds the first
 * before and the second after, and there is only one, is the word's.
 */
#include <stdlib.h>
#include <string.h>

#include "unicorn/vcpu.h"

#define TRY_PAGE 0x1000
#define TRY_WRPKRU TRY_PAGE
#define TRY_GP (TRY_PAGE + 0x100)
#define TRY_SYSRET (TRY_PAGE + 0x200)
#define TRY_USER (TRY_PAGE + 0x300)
#define TRY_INT (TRY_PAGE + 0x400)
#define TRY_PKRU 0x5a5a3c3c
#define TRY_SELECTOR 0x1234
#define TRY_STAR (0x1000ull << 48) /* SYSRETQ makes CS 0x1013 and SS 0x100b of it */
#define FLAGS_CODE 0xa0fb00	   /* a descriptor's second dword: 64-bit code, DPL 3 */
#define FLAGS_STACK 0xc0f300
#define NONE 0xffffffff

static const u8 try_wrpkru[] = {
	0x31, 0xc9,		      /* xor ecx, ecx */
	0x31, 0xd2,		      /* xor edx, edx */
	0xb8, 0x3c, 0x3c, 0x5a, 0x5a, /* mov eax, TRY_PKRU */
	0x0f, 0x01, 0xef,	      /* wrpkru */
};
static const u8 try_gp[] = {
	0x66, 0xb8, 0x34, 0x12, /* mov ax, TRY_SELECTOR */
	0x8e, 0xd8,		/* mov ds, ax */
};
static const u8 try_int[] = { 0xcd, 0x80 };
static const u8 try_sysret[] = { 0x48, 0x0f, 0x07 };

/* What the words are before and after; HFLAGS is told by its privilege level. */
static const u32 word_before[NR_ENV_WORDS] = { [ENV_IN_FLIGHT] = NONE, [ENV_IS_INT] = 1 };
static const u32 word_after[NR_ENV_WORDS] = {
	[ENV_CS] = 0x1013,	     [ENV_SS] = 0x100b,	    [ENV_ERROR_CODE] = TRY_SELECTOR,
	[ENV_IN_FLIGHT] = VECTOR_GP, [ENV_PKRU] = TRY_PKRU,
};

static void skip_exception(uc_engine *uc, u32 vector, void *arg)
{
	(void)uc;
	if (vector == VECTOR_GP)
		reg_write(arg, UC_X86_REG_RIP, TRY_GP + sizeof(try_gp));
}

static bool try_code(struct vcpu *v, u64 at, const u8 *code, u64 size, u64 until)
{
	return UC(v, mem_write)(v->uc, at, code, size) == UC_ERR_OK &&
	       UC(v, emu_start)(v->uc, at, until, 0, 0) == UC_ERR_OK;
}

static void set_msr(struct vcpu *v, u32 nr, u64 value)
{
	uc_x86_msr msr = { .rid = nr, .value = value };

	UC(v, reg_write)(v->uc, UC_X86_REG_MSR, &msr);
}

/* From the state before to the state after. */
static bool change_state(struct vcpu *v)
{
	reg_write(v, UC_X86_REG_CR4, reg_read(v, UC_X86_REG_CR4) | CR4_PKE);
	if (!try_code(v, TRY_WRPKRU, try_wrpkru, sizeof(try_wrpkru),
		      TRY_WRPKRU + sizeof(try_wrpkru)) ||
	    !try_code(v, TRY_GP, try_gp, sizeof(try_gp), TRY_GP + sizeof(try_gp)))
		return false;
	set_msr(v, MSR_STAR, TRY_STAR);
	set_msr(v, MSR_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	reg_write(v, UC_X86_REG_RCX, TRY_USER);
	reg_write(v, UC_X86_REG_R11, 2);
	if (!try_code(v, TRY_SYSRET, try_sysret, sizeof(try_sysret), TRY_USER))
		return false;
	reg_write(v, UC_X86_REG_RAX, 0);
	return true;
}

/* An instance in the state before, closed by whoever calls; NULL: there is none to be had. */
static struct vcpu *open_trial(const struct uc_api *api)
{
	struct vcpu *v = vcpu_alloc(api);
	uc_hook hook;

	if (!v)
		return NULL;
	if (UC(v, open)(UC_ARCH_X86, UC_MODE_64, &v->uc) != UC_ERR_OK) {
		free(v);
		return NULL;
	}
	UC(v, mem_map)(v->uc, TRY_PAGE, PAGE_SIZE, UC_PROT_ALL);
	UC(v, hook_add)(v->uc, &hook, UC_HOOK_INTR, (void *)skip_exception, v, (u64)1, (u64)0);
	try_code(v, TRY_INT, try_int, sizeof(try_int), TRY_INT + sizeof(try_int));
	return v;
}

static void close_trial(struct vcpu *v)
{
	UC(v, close)(v->uc);
	free(v);
}

static bool is_level(u32 before, u32 after)
{
	return before >> 2 && (before & 3) == 0 && after == (before | 3);
}

static bool is_word(enum env_word word, const u8 *before, const u8 *after)
{
	u32 old, new;

	memcpy(&old, before, sizeof(old));
	memcpy(&new, after, sizeof(new));
	if (word == ENV_HFLAGS)
		return is_level(old, new);
	return old == word_before[word] && new == word_after[word] &&
	       (word != ENV_CS || env_is_segment(after, new, FLAGS_CODE)) &&
	       (word != ENV_SS || env_is_segment(after, new, FLAGS_STACK));
}

/* The one place of the word; 0: there is none, or more. */
static u32 place_of(enum env_word word, const u8 *before, const u8 *after, size_t size)
{
	u32 place = 0;

	for (u32 at = sizeof(u64); at + 24 <= size; at += sizeof(u32)) {
		if (!is_word(word, before + at, after + at))
			continue;
		if (place)
			return 0;
		place = at;
	}
	return place;
}

void find_places(const struct uc_api *api, struct env_places *places)
{
	struct vcpu *v = open_trial(api);
	uc_context *before = NULL, *after = NULL;

	memset(places, 0, sizeof(*places));
	if (!v)
		return;
	if (UC(v, context_alloc)(v->uc, &before) == UC_ERR_OK &&
	    UC(v, context_alloc)(v->uc, &after) == UC_ERR_OK &&
	    UC(v, context_save)(v->uc, before) == UC_ERR_OK && change_state(v) &&
	    UC(v, context_save)(v->uc, after) == UC_ERR_OK)
		for (u32 word = 0; word < NR_ENV_WORDS; word++)
			places->at[word] = place_of(word, (u8 *)before, (u8 *)after,
						    UC(v, context_size)(v->uc));
	if (before)
		UC(v, context_free)(before);
	if (after)
		UC(v, context_free)(after);
	close_trial(v);
}

/* Whether the private places of the words, and of EFER, hold what they must, before and after. */
bool test_private_env(const struct uc_api *api)
{
	struct vcpu *v = open_trial(api);
	u8 before[NR_ENV_WORDS][sizeof(u32)];
	bool ok;

	if (!v)
		return false;
	private_bind(v, PRIVATE_ENV);
	for (u32 word = 0; word < NR_ENV_WORDS; word++)
		memcpy(before[word], private_env(v, word), sizeof(before[word]));
	ok = *private_efer(v) == (EFER_LME | EFER_LMA) && change_state(v) &&
	     *private_efer(v) == (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	for (u32 word = 0; ok && word < NR_ENV_WORDS; word++)
		ok = is_word(word, before[word], (u8 *)private_env(v, word));
	close_trial(v);
	return ok;
}
