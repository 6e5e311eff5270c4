/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "peers.h"
#include "probe.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define ADDR_MASK 0x000ffffffffff000ull
#define WALK_BYTES 512	     /* at least sizeof(struct walk) */
#define TRANSLATION_BYTES 64 /* at least sizeof(struct translation) */

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* 0, in a way that must wait for value. */
static inline uint64_t zero_after(uint64_t value)
{
	__asm__ volatile("and $0, %0" : "+r"(value));
	return value;
}

double time_walks(walk_fn walk, void *unit, uint32_t mode, const uint64_t *va, uint64_t nr_va,
		  uint64_t n)
{
	_Alignas(64) uint64_t w[WALK_BYTES / 8];
	uint64_t zero = 0, at = 0;
	double start = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		walk(unit, va[at] + zero, 0, 1, mode, w);
		zero = zero_after(w[1]); /* struct walk.pa */
		if (++at == nr_va)
			at = 0;
	}
	return (now_ns() - start) / (double)n;
}

/* What a walk comes to when nothing can go wrong. */
static uint64_t radix_walk(const uint8_t *ram, uint64_t cr3, uint64_t va)
{
	uint64_t entry = cr3;

	for (int shift = 39; shift >= 12; shift -= 9)
		memcpy(&entry, ram + (entry & ADDR_MASK) + (va >> shift & 511) * 8, 8);
	return (entry & ADDR_MASK) | (va & 4095);
}

double time_radix_walks(const uint8_t *ram, uint64_t cr3, const uint64_t *va, uint64_t nr_va,
			uint64_t n)
{
	uint64_t zero = 0, at = 0;
	double start = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		zero = zero_after(radix_walk(ram, cr3, va[at] + zero));
		if (++at == nr_va)
			at = 0;
	}
	return (now_ns() - start) / (double)n;
}

double time_translations(translate_fn translate, void *unit, const uint64_t *va, uint64_t nr_va,
			 uint64_t n)
{
	_Alignas(64) uint64_t t[TRANSLATION_BYTES / 8];
	uint64_t zero = 0, at = 0;
	double start = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		translate(unit, va[at] + zero, 0, 1, t);
		zero = zero_after(t[0]); /* struct translation.pa */
		if (++at == nr_va)
			at = 0;
	}
	return (now_ns() - start) / (double)n;
}

double time_array_lookups(const uint64_t *frame, uint64_t mask, const uint64_t *va, uint64_t nr_va,
			  uint64_t n)
{
	uint64_t zero = 0, at = 0;
	double start = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		uint64_t address = va[at] + zero;

		zero = zero_after(frame[address >> 12 & mask] | (address & 4095));
		if (++at == nr_va)
			at = 0;
	}
	return (now_ns() - start) / (double)n;
}

double time_lookups(lookup_fn lookup, put_fn put, void *mm, void *pmd, uint64_t addr, uint64_t n)
{
	double start = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		uint64_t table = 0;

		lookup(mm, pmd, &table);
		put(mm, (void *)(uintptr_t)table, addr);
	}
	return (now_ns() - start) / (double)n;
}

double time_pairs(get_fn get, put_fn put, void *mm, void *pmd, uint64_t addr, uint64_t n)
{
	double start = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		get(mm, pmd);
		put(mm, pmd, addr);
	}
	return (now_ns() - start) / (double)n;
}

double time_atomic_pairs(uint32_t *count, uint64_t n)
{
	_Atomic uint32_t *counter = (_Atomic uint32_t *)count;
	double start = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
		if (atomic_fetch_sub_explicit(counter, 1, memory_order_acq_rel) == 1)
			return 0;
	}
	return (now_ns() - start) / (double)n;
}

int radix_agrees(const uint8_t *ram, uint64_t cr3, const uint64_t *va, const uint64_t *pa,
		 uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		if (radix_walk(ram, cr3, va[i]) != pa[i])
			return 0;
	return 1;
}

void fill_table(uint8_t *ram, uint64_t table, uint64_t entry)
{
	for (int i = 0; i < 512; i++)
		memcpy(ram + table + 8 * i, &entry, 8);
}

double core_probe(void)
{
	return probe();
}
