// SPDX-License-Identifier: GPL-2.0-or-later
/* States: what is drawn, and how often, so that each rule decides often; and their memory. */
#include <string.h>

#include "unicorn_walker_inside.h"

static u64 random_flags(struct walker *w, bool wide)
{
	u64 flags = X86_P | X86_RW | X86_US;

	if (permille(w, 30))
		flags &= ~(u64)X86_P;
	if (permille(w, 120))
		flags &= ~(u64)X86_RW;
	if (permille(w, wide ? 30 : 300))
		flags &= ~(u64)X86_US;
	if (permille(w, 70))
		flags |= X86_XD;
	flags |= next(w) & (X86_A | X86_D | X86_PWT | X86_PCD | X86_G | 0xe00 | 0x7ff0000000000000);
	return flags;
}

/* An entry of level; the table below, if it refers to one, is chain's. */
static u64 random_entry(struct walker *w, u32 level, u32 chain, bool wide)
{
	static const u16 large[] = { [2] = 250, [3] = 150, [4] = 15, [5] = 15 };
	static const enum table below_a[] = {
		[2] = TABLE_1A, [3] = TABLE_2A, [4] = TABLE_3A, [5] = TABLE_4A
	};
	u64 e = random_flags(w, wide);

	if (level == 1)
		e |= (SMALL_PA + below(w, NR_SMALL) * 0x1000ull) | (permille(w, 300) ? X86_PAT : 0);
	else if (permille(w, large[level]))
		e |= X86_PS | (level == 2   ? BIG_PA + below(w, NR_LARGE) * level_size(2)
			       : level == 3 ? HUGE_PA + below(w, NR_LARGE) * level_size(3)
					    : table_pa(below_a[level] + chain));
	else
		e |= table_pa(below_a[level] + chain);
	if ((level == 2 || level == 3) && e & X86_PS) {
		e |= permille(w, 300) ? 1u << 12 : 0; /* PAT */
		if (permille(w, 40))
			e |= 1ull << (13 + below(w, 9 * (level - 1) - 1));
	}
	if (permille(w, 20))
		e |= 1ull << (MAXPHYADDR + below(w, 52 - MAXPHYADDR));
	return e;
}

/* Number of the entry at pa, if it is drawn already. */
static u32 entry_number(const struct state *s, u64 pa)
{
	u32 i = 0;

	while (i < s->nr_entries && s->entry_pa[i] != pa)
		i++;
	return i;
}

/* Draw the entries that translate va, but for those that are there. */
static void random_chain(struct walker *w, struct state *s, u64 va, u32 chain, bool wide)
{
	static const enum table tables[] = {
		[1] = TABLE_1A, [2] = TABLE_2A, [3] = TABLE_3A, [4] = TABLE_4A
	};
	u64 table = s->cr3 & X86_ADDR_MASK;

	for (u32 level = s->cr4 & CR4_LA57 ? 5 : 4; level; level--) {
		u64 pa = table + entry_offset(va, level);
		u32 i = entry_number(s, pa);

		if (i == s->nr_entries) {
			s->entry_pa[i] = pa;
			s->entry_level[i] = level;
			s->entry[i] = random_entry(w, level, chain, wide);
			s->nr_entries++;
			if (level > 1)
				table = table_pa(tables[level - 1] + chain);
		} else if (level > 1) {
			/* a table of the first chain */
			table = table_pa(tables[level - 1]);
		}
		if (maps_page(s->entry[i], level))
			return;
	}
}

static u64 random_index(struct walker *w)
{
	static const u16 index[] = { 0, 1, 255, 256, 510, 511, 511 };

	return index[below(w, sizeof(index) / sizeof(*index))];
}

/* The first byte's page: canonical, and neither the stubs' nor the last one. */
static u64 random_page(struct walker *w, bool la57)
{
	u64 va = 0;

	for (;;) {
		for (u32 level = la57 ? 5 : 4; level; level--)
			va = va << 9 | random_index(w);
		va = (u64)((s64)(va << 12 << (la57 ? 7 : 16)) >> (la57 ? 7 : 16));
		if (!la57 || ((va + PAGE_SIZE) >> 48 & 511) != 511)
			return va == (u64)-PAGE_SIZE ? 0 : va;
	}
}

static void random_registers(struct walker *w, struct state *s)
{
	bool la57 = permille(w, 330);

	s->cpl = permille(w, 500) ? 3 : 0;
	s->cr0 = CR0_ALWAYS | (permille(w, 500) ? CR0_WP : 0);
	s->cr3 = table_pa(la57 ? TABLE_5 : TABLE_4A) | (next(w) & 0x18);
	s->cr4 = BASE_CR4(la57) | (next(w) & (CR4_PGE | CR4_SMEP | CR4_SMAP));
	s->cr4 |= next(w) & CR4_PKE;
	if (permille(w, 150)) {
		s->cr4 |= CR4_PCIDE;
		s->cr3 |= next(w) & CR3_PCID_MASK;
	}
	s->efer = EFER_ALWAYS | (permille(w, 750) ? EFER_NXE : 0);
	s->rflags = 2 | (next(w) & RFLAGS_AC);
	s->pkru = permille(w, 250) ? 0 : (u32)next(w);
}

static u32 size_of(u32 kind)
{
	switch (kind) {
	case KIND_LOAD4:
		return 4;
	case KIND_LOAD1:
	case KIND_STORE1:
		return 1;
	case KIND_FETCH:
		return CROSSING_INSN;
	case KIND_REP_STORE:
	case KIND_REP_LOAD:
		return REP_BYTES;
	default:
		return 8;
	}
}

static u32 random_kind(struct walker *w)
{
	return below(w, NR_KINDS);
}

/* va: within one page, or across the end of one; rarely not canonical. */
static void random_address(struct walker *w, struct state *s)
{
	bool la57 = s->cr4 & CR4_LA57;

	s->va = random_page(w, la57);
	if (s->size > 1 && permille(w, 300)) {
		s->second = 1 + below(w, s->size - 1);
		if (permille(w, 30))
			s->va = la57 ? 0x00fffffffffff000 : 0x00007ffffffff000;
		s->va += PAGE_SIZE - (s->size - s->second);
		return;
	}
	if (s->kind == KIND_FETCH) {
		s->size = 1;
		s->va += 64 * below(w, 16);
	} else {
		s->va += 16 * below(w, 255);
	}
	if (permille(w, 15))
		s->va ^= 1ull << ((la57 ? 57 : 47) + below(w, la57 ? 7 : 17));
}

/* A flag to change in an entry, that leaves where it points to: to a page, or to a table of ours.
 */
static u64 random_bit(struct walker *w, u64 e, u32 level)
{
	static const u64 bit[] = { X86_P, X86_RW, X86_US, X86_A,
				   X86_D, X86_G,  X86_XD, 1ull << MAXPHYADDR };

	return maps_page(e, level) && level == 1 && permille(w, 100) ? X86_PAT : bit[below(w, 8)];
}

/* Two accesses of the supervisor's to one page, one entry changed between them. */
static void random_sequence(struct walker *w, struct state *s)
{
	s->sequence = 1;
	s->cpl = 0;
	s->way = below(w, NR_SEQUENCE_KINDS * NR_SEQUENCE_KINDS);
	s->size = 8;
	s->kind = KIND_LOAD8;
	s->va = random_page(w, s->cr4 & CR4_LA57) + 16 * below(w, 255);
	s->second = 0;
	s->nr_entries = 0;
	s->cr4 &= ~(u64)(CR4_PKE | (permille(w, 700) ? CR4_SMAP : 0));
	random_chain(w, s, s->va, 0, true);
	s->flush = below(w, NR_FLUSHES);
	s->reload = s->cr3;
	if ((s->cr4 & (CR4_PCIDE | CR4_LA57)) == CR4_PCIDE &&
	    permille(w, 500)) /* with LA57: see DEVIATIONS */
		s->reload |= CR3_NOFLUSH;
	s->edited = below(w, s->nr_entries);
	s->new_entry = random_entry(w, s->entry_level[s->edited], 0, true);
	if (permille(w, 500))
		s->new_entry = s->entry[s->edited] ^
			       random_bit(w, s->entry[s->edited], s->entry_level[s->edited]);
}

void random_state(struct walker *w, u64 seed, u64 index, struct state *s)
{
	memset(s, 0, sizeof(*s));
	w->rng = mix(mix(seed + 1) + index);
	s->seed = seed;
	s->index = index;
	random_registers(w, s);
	s->rax = next(w);
	s->rcx = next(w);
	if (permille(w, 120)) {
		random_sequence(w, s);
		return;
	}
	s->kind = random_kind(w);
	s->size = size_of(s->kind);
	s->way = below(w, NR_ENGINE_WAYS);
	random_address(w, s);
	bool wide = permille(w, 700);
	random_chain(w, s, s->va, 0, wide);
	if (s->second)
		random_chain(w, s, s->va + s->size - s->second, 1, wide);
	if (s->kind == KIND_REP_STORE || s->kind == KIND_REP_LOAD)
		s->rcx = REP_BYTES;
}

void walker_state(struct walker *w, u64 seed, u64 index, struct state *s)
{
	random_state(w, seed, index, s);
}

/* Cells: all memory that a state may change. */

static void add_cell(struct walker *w, u64 pa, u32 n)
{
	struct cell *c = &w->cell[w->nr_cells++];

	c->host = w->ram + pa;
	c->n = n;
}

/* n bytes of data at va in each frame that va may lead to. */
static void add_data(struct walker *w, u64 va, u32 n)
{
	for (u32 i = 0; i < NR_SMALL; i++)
		add_cell(w, SMALL_PA + i * 0x1000 + (va & 0xfff), n);
	for (u32 i = 0; i < NR_LARGE; i++) {
		add_cell(w, BIG_PA + i * level_size(2) + (va & (level_size(2) - 1)), n);
		add_cell(w, HUGE_PA + i * level_size(3) + (va & (level_size(3) - 1)), n);
	}
}

const u8 crossing_insn[CROSSING_INSN] = { 0xb8, 0x11, 0x22, 0x33, 0x44 };

/* What the access at va is to find, byte i of it. */
static u8 content(struct walker *w, const struct state *s, u32 i)
{
	static const u8 descriptor[] = { 0xff, 0xff, 0, 0, 0, 0xf3, 0xcf, 0 };

	switch (s->kind) {
	case KIND_FETCH:
		return s->second && i < CROSSING_INSN ? crossing_insn[i] : INT3;
	case KIND_DESCRIPTOR:
		return descriptor[i];
	case KIND_DESCRIPTOR_A:
		return i == 5 ? 0xf2 : descriptor[i];
	default:
		return (u8)next(w);
	}
}

static void fill_cells(struct walker *w, const struct state *s, u32 from, u32 first)
{
	for (u32 i = from; i < w->nr_cells; i++)
		for (u32 at = 0; at < w->cell[i].n; at++)
			w->cell[i].before[at] = content(w, s, first + at);
}

/* A byte more in the second page of a fetch: INT3. */
void lay_out(struct walker *w, const struct state *s)
{
	u32 first = s->size - s->second;

	w->nr_cells = 0;
	for (u32 i = 0; i < s->nr_entries; i++) {
		add_cell(w, s->entry_pa[i], 8);
		memcpy(w->cell[i].before, &s->entry[i], 8);
	}
	u32 from = w->nr_cells;
	if (s->kind == KIND_REP_STORE || s->kind == KIND_REP_LOAD) {
		add_cell(w, DATA_PA, REP_BYTES);
		add_cell(w, DATA_PA + 0x800, REP_BYTES);
	}
	add_data(w, s->va, first);
	fill_cells(w, s, from, 0);
	if (!s->second)
		return;
	from = w->nr_cells;
	add_data(w, s->va + first, s->second + (s->kind == KIND_FETCH));
	fill_cells(w, s, from, first);
}

void restore(struct walker *w)
{
	for (u32 i = 0; i < w->nr_cells; i++)
		memcpy(w->cell[i].host, w->cell[i].before, w->cell[i].n);
}

void clear(struct walker *w, const struct state *s)
{
	for (u32 i = 0; i < s->nr_entries; i++)
		*entry_at(w, s->entry_pa[i]) = 0;
}

void look_at_cells(struct walker *w, struct outcome *o)
{
	for (u32 i = 0; i < w->nr_cells; i++)
		memcpy(o->cell[i], w->cell[i].host, w->cell[i].n);
}

void outcome_before(const struct state *s, struct outcome *o)
{
	memset(o, 0, sizeof(*o));
	o->cr2 = CR2_BEFORE;
	o->rax = s->rax;
	o->rcx = s->rcx;
	o->rsp = s->va + s->size;
	o->rsi = s->kind == KIND_REP_LOAD ? s->va : (s->cpl == 3 ? STUB_DATA + 0x1000 : STUB_DATA);
	o->rdi = s->kind == KIND_REP_LOAD ? (s->cpl == 3 ? STUB_DATA + 0x1800 : STUB_DATA + 0x800)
					  : s->va;
}
