/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The loops that time our C functions and the bare things they are held against. */
#ifndef UCMMU_BENCHMARKS_PEERS_H
#define UCMMU_BENCHMARKS_PEERS_H

#include <stdint.h>

/* cffi-begin */
typedef uint32_t (*walk_fn)(void *unit, uint64_t va, uint32_t access, uint32_t user, uint32_t mode,
			    void *walk);
typedef uint32_t (*translate_fn)(void *unit, uint64_t va, uint32_t access, uint32_t user,
				 void *translation);
typedef void (*get_fn)(void *mm, void *pmd);
typedef void (*put_fn)(void *mm, void *pmd, uint64_t addr);
typedef uint32_t (*lookup_fn)(void *mm, void *pmd, uint64_t *table);

/* Nanoseconds a walk takes, over n walks of the addresses va[0, nr_va), each waiting for the one
 * before. */
double time_walks(walk_fn walk, void *unit, uint32_t mode, const uint64_t *va, uint64_t nr_va,
		  uint64_t n);
/* The same for radix_walk(): four loads and no check, of the tables under cr3 in ram. */
double time_radix_walks(const uint8_t *ram, uint64_t cr3, const uint64_t *va, uint64_t nr_va,
			uint64_t n);
/* Nanoseconds a translation of a user load takes, over n of the addresses va[0, nr_va), each
 * waiting for the one before. */
double time_translations(translate_fn translate, void *unit, const uint64_t *va, uint64_t nr_va,
			 uint64_t n);
/* The same for an array by page number: pa = frame[(va >> 12) & mask] | offset. */
double time_array_lookups(const uint64_t *frame, uint64_t mask, const uint64_t *va, uint64_t nr_va,
			  uint64_t n);
/* Nanoseconds a pair of get(mm, pmd) and put(mm, pmd, addr) takes. */
double time_pairs(get_fn get, put_fn put, void *mm, void *pmd, uint64_t addr, uint64_t n);
/* Nanoseconds a relaxed add of 1 and an acquire-release subtraction take, of *count. */
double time_atomic_pairs(uint32_t *count, uint64_t n);
/* Nanoseconds a lookup of pmd's table takes, with the put of what it got. */
double time_lookups(lookup_fn lookup, put_fn put, void *mm, void *pmd, uint64_t addr, uint64_t n);
/* Whether radix_walk() of each address gives pa[i]. */
int radix_agrees(const uint8_t *ram, uint64_t cr3, const uint64_t *va, const uint64_t *pa,
		 uint64_t nr);
/* ns of a probe (probe.h) of the core that this thread is on. */
double core_probe(void);
/* Set all 512 entries of the table at ram + table to entry. */
void fill_table(uint8_t *ram, uint64_t table, uint64_t entry);
/* cffi-end */

#endif
