/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tables: SDM vol. 3A 4.5 (formats of entries), 4.6.1 (access rights), 4.6.2 (protection keys),
 * 4.7 (error code), 4.8 (A and D); APM vol. 2 5.3 for what AMD's processors reserve.
 */
#include "paging_oracle.h"

#include <string.h>

#define BIT(n) (1ull << (n))
#define BITS(high, low) ((high) < (low) ? 0 : (~0ull >> (63 - (high))) & (~0ull << (low)))

#define ANY 2 /* in a row: whatever the register bit is */

/* Bits that an entry must not set (SDM tables 4-15 to 4-20; APM vol. 2 figures 5-17 to 5-26). */
enum form {
	TABLE,
	PAGE,
	BOTH
};

struct reserved_row {
	uint8_t high_level, low_level;
	enum form form;
	uint8_t high, low; /* low M: MAXPHYADDR */
	uint8_t nxe, page1gb, amd;
};

#define M 0xff

static const struct reserved_row RESERVED_BITS[] = {
	/* levels  form   bits    NXE  1 GiB  AMD */
	{ 5, 1, BOTH, 51, M, ANY, ANY, ANY },  /* above the physical address */
	{ 5, 1, BOTH, 63, 63, 0, ANY, ANY },   /* XD, without EFER.NXE */
	{ 5, 4, BOTH, 7, 7, ANY, ANY, ANY },   /* PS, where there is no page that large */
	{ 3, 3, PAGE, 7, 7, ANY, 0, ANY },     /* PS of a PDPTE, without 1-GByte pages */
	{ 3, 3, PAGE, 29, 13, ANY, ANY, ANY }, /* a 1-GByte page's address is aligned */
	{ 2, 2, PAGE, 20, 13, ANY, ANY, ANY }, /* a 2-MByte page's, too */
	{ 5, 4, BOTH, 8, 8, ANY, ANY, 1 },     /* G of PML5E and PML4E must be zero */
};

/* Which form an entry of a level has (SDM figure 4-11). */
static const struct {
	uint8_t can_map_page, can_refer_to_table;
	uint8_t page_shift;
} LEVELS[6] = {
	[1] = { 1, 0, 12 }, [2] = { 1, 1, 21 }, [3] = { 1, 1, 30 },
	[4] = { 0, 1, 0 },  [5] = { 0, 1, 0 },
};

/* What a translation must offer for an access to be allowed. */
#define NEVER 0x80
#define WRITABLE 0x1	 /* R/W is 1 in every entry */
#define EXECUTABLE 0x2	 /* XD is 0 in every entry */
#define SHADOW_STACK 0x4 /* R/W is 0 and D is 1 in the last entry, R/W is 1 in every other */
#define KEY_READS 0x8	 /* the protection key permits read access */
#define KEY_WRITES 0x10	 /* the protection key permits write access */
#define ALWAYS 0

enum where {
	SUPERVISOR_ADDRESS,
	USER_ADDRESS,
	ANYWHERE
};

/* Determination of access rights, sentence by sentence (SDM 4.6.1). */
static const struct rights_row {
	uint8_t mode, kind, where;
	uint8_t wp, smap, ac, smep, nxe;
	uint8_t needs;
} RIGHTS[] = {
#define S ORACLE_SUPERVISOR
#define I ORACLE_IMPLICIT
#define U ORACLE_USER
	/* Supervisor-mode data reads.                     WP   SMAP  AC  SMEP  NXE */
	{ S, ORACLE_READ, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY, KEY_READS },
	{ I, ORACLE_READ, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY, KEY_READS },
	{ S, ORACLE_READ, USER_ADDRESS, ANY, 0, ANY, ANY, ANY, KEY_READS },
	{ S, ORACLE_READ, USER_ADDRESS, ANY, 1, 1, ANY, ANY, KEY_READS },
	{ S, ORACLE_READ, USER_ADDRESS, ANY, 1, 0, ANY, ANY, NEVER },
	{ I, ORACLE_READ, USER_ADDRESS, ANY, 0, ANY, ANY, ANY, KEY_READS },
	{ I, ORACLE_READ, USER_ADDRESS, ANY, 1, ANY, ANY, ANY, NEVER },
	/* Supervisor-mode data writes. */
	{ S, ORACLE_WRITE, SUPERVISOR_ADDRESS, 0, ANY, ANY, ANY, ANY, KEY_WRITES },
	{ S, ORACLE_WRITE, SUPERVISOR_ADDRESS, 1, ANY, ANY, ANY, ANY, WRITABLE | KEY_WRITES },
	{ I, ORACLE_WRITE, SUPERVISOR_ADDRESS, 0, ANY, ANY, ANY, ANY, KEY_WRITES },
	{ I, ORACLE_WRITE, SUPERVISOR_ADDRESS, 1, ANY, ANY, ANY, ANY, WRITABLE | KEY_WRITES },
	{ S, ORACLE_WRITE, USER_ADDRESS, 0, 0, ANY, ANY, ANY, KEY_WRITES },
	{ S, ORACLE_WRITE, USER_ADDRESS, 0, 1, 1, ANY, ANY, KEY_WRITES },
	{ S, ORACLE_WRITE, USER_ADDRESS, 0, 1, 0, ANY, ANY, NEVER },
	{ S, ORACLE_WRITE, USER_ADDRESS, 1, 0, ANY, ANY, ANY, WRITABLE | KEY_WRITES },
	{ S, ORACLE_WRITE, USER_ADDRESS, 1, 1, 1, ANY, ANY, WRITABLE | KEY_WRITES },
	{ S, ORACLE_WRITE, USER_ADDRESS, 1, 1, 0, ANY, ANY, NEVER },
	{ I, ORACLE_WRITE, USER_ADDRESS, 0, 0, ANY, ANY, ANY, KEY_WRITES },
	{ I, ORACLE_WRITE, USER_ADDRESS, 1, 0, ANY, ANY, ANY, WRITABLE | KEY_WRITES },
	{ I, ORACLE_WRITE, USER_ADDRESS, ANY, 1, ANY, ANY, ANY, NEVER },
	/* Supervisor-mode instruction fetches; an implicit access is no fetch, but an engine may be
	   asked. */
	{ S, ORACLE_FETCH, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, 0, ALWAYS },
	{ S, ORACLE_FETCH, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, 1, EXECUTABLE },
	{ S, ORACLE_FETCH, USER_ADDRESS, ANY, ANY, ANY, 0, 0, ALWAYS },
	{ S, ORACLE_FETCH, USER_ADDRESS, ANY, ANY, ANY, 0, 1, EXECUTABLE },
	{ S, ORACLE_FETCH, USER_ADDRESS, ANY, ANY, ANY, 1, ANY, NEVER },
	{ I, ORACLE_FETCH, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, 0, ALWAYS },
	{ I, ORACLE_FETCH, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, 1, EXECUTABLE },
	{ I, ORACLE_FETCH, USER_ADDRESS, ANY, ANY, ANY, 0, 0, ALWAYS },
	{ I, ORACLE_FETCH, USER_ADDRESS, ANY, ANY, ANY, 0, 1, EXECUTABLE },
	{ I, ORACLE_FETCH, USER_ADDRESS, ANY, ANY, ANY, 1, ANY, NEVER },
	/* Supervisor-mode shadow-stack accesses. */
	{ S, ORACLE_SHSTK_READ, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY,
	  SHADOW_STACK | KEY_READS },
	{ S, ORACLE_SHSTK_WRITE, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY,
	  SHADOW_STACK | KEY_WRITES },
	{ S, ORACLE_SHSTK_READ, USER_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
	{ S, ORACLE_SHSTK_WRITE, USER_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
	{ I, ORACLE_SHSTK_READ, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY,
	  SHADOW_STACK | KEY_READS },
	{ I, ORACLE_SHSTK_WRITE, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY,
	  SHADOW_STACK | KEY_WRITES },
	{ I, ORACLE_SHSTK_READ, USER_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
	{ I, ORACLE_SHSTK_WRITE, USER_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
	/* User-mode accesses. */
	{ U, ORACLE_READ, USER_ADDRESS, ANY, ANY, ANY, ANY, ANY, KEY_READS },
	{ U, ORACLE_WRITE, USER_ADDRESS, ANY, ANY, ANY, ANY, ANY, WRITABLE | KEY_WRITES },
	{ U, ORACLE_FETCH, USER_ADDRESS, ANY, ANY, ANY, ANY, 0, ALWAYS },
	{ U, ORACLE_FETCH, USER_ADDRESS, ANY, ANY, ANY, ANY, 1, EXECUTABLE },
	{ U, ORACLE_SHSTK_READ, USER_ADDRESS, ANY, ANY, ANY, ANY, ANY, SHADOW_STACK | KEY_READS },
	{ U, ORACLE_SHSTK_WRITE, USER_ADDRESS, ANY, ANY, ANY, ANY, ANY, SHADOW_STACK | KEY_WRITES },
	{ U, ORACLE_READ, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
	{ U, ORACLE_WRITE, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
	{ U, ORACLE_FETCH, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
	{ U, ORACLE_SHSTK_READ, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
	{ U, ORACLE_SHSTK_WRITE, SUPERVISOR_ADDRESS, ANY, ANY, ANY, ANY, ANY, NEVER },
#undef S
#undef I
#undef U
};

/* What a key with a bit set forbids (SDM 4.6.2). PKRU rules user-mode addresses, IA32_PKRS
 * supervisor-mode ones. */
enum key_bit {
	AD,
	WD
};

static const struct key_row {
	enum where where;
	enum key_bit bit;
	uint8_t user_mode, write, wp;
} KEY_FORBIDS[] = {
	{ ANYWHERE, AD, ANY, ANY, ANY },
	{ USER_ADDRESS, WD, 1, 1, ANY },
	{ USER_ADDRESS, WD, 0, 1, 1 },
	{ SUPERVISOR_ADDRESS, WD, ANY, 1, 1 },
};

/* Kinds of access (SDM 4.6; shadow-stack accesses are data accesses). */
static const struct {
	uint8_t write, fetch, shadow_stack;
} KINDS[ORACLE_KINDS] = {
	[ORACLE_READ] = { 0, 0, 0 },	    [ORACLE_WRITE] = { 1, 0, 0 },
	[ORACLE_FETCH] = { 0, 1, 0 },	    [ORACLE_SHSTK_READ] = { 0, 0, 1 },
	[ORACLE_SHSTK_WRITE] = { 1, 0, 1 },
};

/* Bits of the error code (SDM figure 4-12). */
enum {
	CODE_P = 1,
	CODE_WR = 2,
	CODE_US = 4,
	CODE_RSVD = 8,
	CODE_ID = 16,
	CODE_PK = 32,
	CODE_SS = 64
};

static int fits(uint8_t wanted, uint8_t actual)
{
	return wanted == ANY || wanted == actual;
}

static int row_fits(const struct rights_row *row, const struct oracle_processor *p, int kind,
		    int mode, int where)
{
	return row->mode == mode && row->kind == kind && row->where == where &&
	       fits(row->wp, p->wp) && fits(row->smap, p->smap) && fits(row->ac, p->ac) &&
	       fits(row->smep, p->smep) && fits(row->nxe, p->nxe);
}

static uint8_t needs_of(const struct oracle_processor *p, int kind, int mode, int where)
{
	for (size_t i = 0; i < sizeof(RIGHTS) / sizeof(*RIGHTS); i++)
		if (row_fits(&RIGHTS[i], p, kind, mode, where))
			return RIGHTS[i].needs;
	return NEVER;
}

/* Whether a key with these rights (bit 0 AD, bit 1 WD) forbids a data access; write: of that sort.
 */
static int key_forbids(const struct oracle_processor *p, int rights, int write, int mode, int where)
{
	if (!(where == USER_ADDRESS ? p->pke : p->pks))
		return 0;
	for (size_t i = 0; i < sizeof(KEY_FORBIDS) / sizeof(*KEY_FORBIDS); i++) {
		const struct key_row *row = &KEY_FORBIDS[i];

		if ((row->where == ANYWHERE || (int)row->where == where) &&
		    rights >> row->bit & 1 && fits(row->user_mode, mode == ORACLE_USER) &&
		    fits(row->write, write) && fits(row->wp, p->wp))
			return 1;
	}
	return 0;
}

/* The flags of the error code that tell the access and not the fault. */
static uint16_t code_of_access(const struct oracle_processor *p, int kind, int mode)
{
	return (KINDS[kind].write ? CODE_WR : 0) | (mode == ORACLE_USER ? CODE_US : 0) |
	       (KINDS[kind].fetch && (p->smep || p->nxe) ? CODE_ID : 0) |
	       (KINDS[kind].shadow_stack ? CODE_SS : 0);
}

/* A page of a class and a key's rights, as in ORACLE_PAGE, for an access that needs that. */
static uint16_t judge_page(const struct oracle_processor *p, int class, int key, int kind, int mode,
			   uint8_t needs)
{
	int where = class & 1 ? USER_ADDRESS : SUPERVISOR_ADDRESS;
	uint8_t offers = (class & 2 ? WRITABLE : 0) | (class & 4 ? 0 : EXECUTABLE) |
			 (class & 8 ? SHADOW_STACK : 0);
	int key_denies = !KINDS[kind].fetch && key_forbids(p, key, KINDS[kind].write, mode, where);

	offers |= key_forbids(p, key, 0, mode, where) ? 0 : KEY_READS;
	offers |= key_forbids(p, key, 1, mode, where) ? 0 : KEY_WRITES;
	if (needs & ~offers)
		return ORACLE_PF | CODE_P | code_of_access(p, kind, mode) |
		       (key_denies ? CODE_PK : 0);
	return ORACLE_SET_A | (KINDS[kind].write ? ORACLE_SET_D : 0);
}

static void prepare_reserved(struct oracle *o)
{
	const struct oracle_processor *p = &o->processor;

	memset(o->reserved, 0, sizeof(o->reserved));
	for (size_t i = 0; i < sizeof(RESERVED_BITS) / sizeof(*RESERVED_BITS); i++) {
		const struct reserved_row *row = &RESERVED_BITS[i];
		int low = row->low == M ? p->maxphyaddr : row->low;

		if (!fits(row->nxe, p->nxe) || !fits(row->page1gb, p->page1gb) ||
		    !fits(row->amd, p->amd))
			continue;
		for (int level = row->low_level; level <= row->high_level; level++)
			for (int form = TABLE; form <= PAGE; form++)
				if (row->form == BOTH || (int)row->form == form)
					o->reserved[level][form] |= BITS(row->high, low);
	}
}

void oracle_prepare(struct oracle *o, const struct oracle_processor *processor)
{
	const struct oracle_processor *p = &o->processor;

	o->processor = *processor;
	prepare_reserved(o);
	o->frame[0] = BITS(p->maxphyaddr - 1, 12);
	for (int level = 1; level <= 5; level++)
		o->frame[level] = LEVELS[level].can_map_page
					  ? BITS(p->maxphyaddr - 1, LEVELS[level].page_shift)
					  : 0;
	for (int kind = 0; kind < ORACLE_KINDS; kind++) {
		for (int mode = 0; mode < ORACLE_MODES; mode++) {
			int column = kind * ORACLE_MODES + mode;
			uint16_t code = code_of_access(p, kind, mode);
			uint8_t needs[2] = { needs_of(p, kind, mode, SUPERVISOR_ADDRESS),
					     needs_of(p, kind, mode, USER_ADDRESS) };

			o->verdict[ORACLE_NOT_CANONICAL][column] = ORACLE_GP;
			o->verdict[ORACLE_NOT_PRESENT][column] = ORACLE_PF | code;
			o->verdict[ORACLE_RESERVED][column] = ORACLE_PF | code | CODE_P | CODE_RSVD;
			for (int class = 0; class < 16; class++)
				for (int key = 0; key < 4; key++)
					o->verdict[ORACLE_PAGE + 4 * class + key][column] =
						judge_page(p, class, key, kind, mode,
							   needs[class & 1]);
		}
	}
}

void oracle_follow(const struct oracle *o, const uint8_t *ram, uint64_t cr3, uint64_t va,
		   struct oracle_path *path)
{
	const struct oracle_processor *p = &o->processor;
	int width = 12 + 9 * p->levels;
	uint64_t above = va >> (width - 1);
	uint64_t table = cr3 & o->frame[0];
	uint64_t all = BIT(1) | BIT(2), any = 0, uppers_writable = BIT(1);

	path->used = 0;
	path->pa = 0;
	path->row = ORACLE_NOT_CANONICAL;
	path->level = p->levels;
	if (above != 0 && above != ~0ull >> (width - 1))
		return;
	for (int level = p->levels;; level--) {
		uint64_t entry;
		int page, key, user;

		path->level = level;
		path->entry_pa[level] = table + (va >> (12 + 9 * (level - 1)) & 511) * 8;
		memcpy(&entry, ram + path->entry_pa[level], 8);
		if (!(entry & BIT(0))) {
			path->row = ORACLE_NOT_PRESENT;
			return;
		}
		page = LEVELS[level].can_map_page &&
		       (!LEVELS[level].can_refer_to_table || entry & BIT(7));
		if (entry & o->reserved[level][page]) {
			path->row = ORACLE_RESERVED;
			return;
		}
		all &= entry;
		any |= entry;
		if (!page) {
			path->used |= 1 << level;
			uppers_writable &= entry;
			table = entry & o->frame[0];
			continue;
		}
		user = all >> 2 & 1;
		key = (user ? p->pkru : p->pkrs) >> 2 * (entry >> 59 & 15) & 3;
		path->row = ORACLE_PAGE + key +
			    4 * (user | (all & BIT(1)) | (any >> 63) << 2 |
				 (uppers_writable && !(entry & BIT(1)) && entry & BIT(6) ? 8 : 0));
		path->pa = (entry & o->frame[level]) | (va & BITS(LEVELS[level].page_shift - 1, 0));
		return;
	}
}

int oracle_ambiguities(void)
{
	int bad = 0;

	for (int bits = 0; bits < 32; bits++) {
		struct oracle_processor p = { .wp = bits & 1,
					      .smap = bits >> 1 & 1,
					      .ac = bits >> 2 & 1,
					      .smep = bits >> 3 & 1,
					      .nxe = bits >> 4 & 1 };

		for (int n = 0; n < ORACLE_KINDS * ORACLE_MODES * 2; n++) {
			int rows = 0;

			for (size_t i = 0; i < sizeof(RIGHTS) / sizeof(*RIGHTS); i++)
				rows += row_fits(&RIGHTS[i], &p, n / 2 / ORACLE_MODES,
						 n / 2 % ORACLE_MODES, n % 2);
			bad += rows != 1;
		}
	}
	return bad;
}
