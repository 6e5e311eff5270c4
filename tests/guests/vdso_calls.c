// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every function of the vDSO, found as a C library finds them (the kernel's
 * tools/testing/selftests/vDSO/parse_vdso.c), does what the system call does: prints their names.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *strings;
static const Elf64_Sym *symbols;
static const uint32_t *hash;
static const uint16_t *versym;
static const Elf64_Verdef *verdef;
static uintptr_t base;

static void find_tables(void)
{
	const Elf64_Ehdr *ehdr;
	const Elf64_Phdr *phdr;
	const Elf64_Dyn *dyn = NULL;
	uintptr_t bias = 0;

	base = getauxval(AT_SYSINFO_EHDR);
	ehdr = (const void *)base;
	phdr = (const void *)(base + ehdr->e_phoff);
	for (int i = 0; i < ehdr->e_phnum; i++) {
		if (phdr[i].p_type == PT_LOAD)
			bias = base + phdr[i].p_offset - phdr[i].p_vaddr;
		if (phdr[i].p_type == PT_DYNAMIC)
			dyn = (const void *)(base + phdr[i].p_offset);
	}
	base = bias;
	for (; dyn->d_tag != DT_NULL; dyn++) {
		const void *at = (const void *)(bias + dyn->d_un.d_ptr);

		if (dyn->d_tag == DT_STRTAB)
			strings = at;
		if (dyn->d_tag == DT_SYMTAB)
			symbols = at;
		if (dyn->d_tag == DT_HASH)
			hash = at;
		if (dyn->d_tag == DT_VERSYM)
			versym = at;
		if (dyn->d_tag == DT_VERDEF)
			verdef = at;
	}
}

static uint32_t elf_hash(const char *name)
{
	uint32_t h = 0;

	for (; *name; name++) {
		h = (h << 4) + (unsigned char)*name;
		h ^= h >> 24 & 0xf0;
		h &= 0xfffffff;
	}
	return h;
}

static int version_matches(uint16_t wanted)
{
	const Elf64_Verdef *def = verdef;
	const Elf64_Verdaux *aux;

	for (;;) {
		if (!(def->vd_flags & VER_FLG_BASE) && def->vd_ndx == (wanted & 0x7fff))
			break;
		if (!def->vd_next)
			return 0;
		def = (const void *)((const char *)def + def->vd_next);
	}
	aux = (const void *)((const char *)def + def->vd_aux);
	return def->vd_hash == elf_hash("LINUX_2.6") &&
	       !strcmp(strings + aux->vda_name, "LINUX_2.6");
}

static void *find(const char *name)
{
	uint32_t nbucket = hash[0], at = hash[2 + elf_hash(name) % nbucket];

	for (; at; at = hash[2 + nbucket + at]) {
		const Elf64_Sym *symbol = &symbols[at];

		if (ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF &&
		    !strcmp(strings + symbol->st_name, name) && version_matches(versym[at]))
			return (void *)(base + symbol->st_value);
	}
	return NULL;
}

static int64_t ns(struct timespec t)
{
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void told(const char *name, int right)
{
	printf("%s: %s\n", name, right ? "right" : "WRONG");
}

int main(void)
{
	int (*vgettime)(clockid_t, struct timespec *), (*vgetres)(clockid_t, struct timespec *);
	int (*vgettimeofday)(struct timeval *, void *);
	int (*vgetcpu)(unsigned *, unsigned *, void *);
	time_t (*vtime)(time_t *);
	struct timespec before, now, after;
	struct timeval tv;
	unsigned cpu = 77, node = 77;
	time_t seconds;

	find_tables();
	vgettime = find("__vdso_clock_gettime");
	vgetres = find("__vdso_clock_getres");
	vgettimeofday = find("__vdso_gettimeofday");
	vgetcpu = find("__vdso_getcpu");
	vtime = find("__vdso_time");
	told("weak names",
	     find("clock_gettime") == (void *)vgettime && find("time") == (void *)vtime);
	told("other names", !find("__vdso_nanosleep") && !find(""));
	for (int clock = CLOCK_REALTIME; clock <= CLOCK_MONOTONIC; clock++) {
		syscall(SYS_clock_gettime, clock, &before);
		told("clock_gettime", vgettime(clock, &now) == 0);
		syscall(SYS_clock_gettime, clock, &after);
		told("between", ns(before) <= ns(now) && ns(now) <= ns(after));
	}
	told("no such clock", vgettime(12345, &now) < 0);
	told("clock_getres", vgetres(CLOCK_MONOTONIC, &now) == 0 && ns(now) == 1);
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &before);
	told("gettimeofday", vgettimeofday(&tv, NULL) == 0);
	told("near", tv.tv_sec - before.tv_sec <= 1);
	told("time", vtime(&seconds) == seconds && seconds - before.tv_sec <= 1);
	told("getcpu", vgetcpu(&cpu, &node, NULL) == 0 && cpu < 4096 && node < 64);
	return 0;
}
