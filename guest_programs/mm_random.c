// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mm_random SEED CALLS [FIRST]: make random memory system calls and accesses, and tell after each
 * what came of it: its result, and how sizes, tables, rights and mappings of this process have
 * changed since the start. Run natively and here, the rows must be the same.
 *
 *	NR CALL(ARGUMENTS) = RESULT | VmSize VmPeak VmData VmStk VmLck RssAnon RssFile RssShmem
 * VmPTE | MAPPINGS HASH [CONTENTS]
 *
 * Numbers are hexadecimal but NR and the sizes, kB more than at the start. HASH is of every
 * mapping's extent and rights, CONTENTS of what can be read. From row FIRST on the mappings are
 * shown too.
 *
 * All happens in an arena of 8 MiB at a fixed address, in the heap, and where the kernel puts
 * mappings. Accesses that may end in a signal are made by system calls, which then return EFAULT;
 * those that are known to be allowed are made directly.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/prctl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "guest.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define ARENA 0x2000000000ul
#define ARENA_PAGES 2048ul
#define PLACED_MAX 6
#define MAPS_MAX (1 << 20)
#define MEMLOCK (4ul << 20)
#define STACK_LIMIT (8ul << 20)
#define ROWS_FLUSH (1 << 16)

static const char *const KEYS[] = { "\nVmSize:",  "\nVmPeak:",	 "\nVmData:",
				    "\nVmStk:",	  "\nVmLck:",	 "\nRssAnon:",
				    "\nRssFile:", "\nRssShmem:", "\nVmPTE:" };
#define NR_KEYS (sizeof(KEYS) / sizeof(KEYS[0]))

/* A place to read and write in each page that is hashed. */
static const uint16_t OFFSETS[] = { 0, 8, 64, 248, 2048, 4088 };
#define NR_OFFSETS (sizeof(OFFSETS) / sizeof(OFFSETS[0]))

struct placed {
	unsigned long start, length;
};

static uint64_t state;
static long base[NR_KEYS], base_maps;
static unsigned long first_brk, now_brk;
static long file_fd;
static unsigned long file_pages;
static char maps[MAPS_MAX], status[8192], rows[ROWS_FLUSH + 32768 + MAPS_MAX];
static size_t rows_used;
static bool tainted[ARENA_PAGES]; /* may hold a guard marker: touched by system calls only */
static struct placed placed[PLACED_MAX];
static unsigned int placed_next;

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/* ---- what is said ---- */

static void flush_rows(void)
{
	for (size_t done = 0; done < rows_used;) {
		long n = call(SYS_write, 1, (long)(rows + done), (long)(rows_used - done), 0, 0, 0);

		if (n <= 0)
			call(SYS_exit_group, 1, 0, 0, 0, 0, 0);
		done += (size_t)n;
	}
	rows_used = 0;
}

static void text(const char *s)
{
	while (*s)
		rows[rows_used++] = *s++;
}

static void number(unsigned long value, unsigned int radix)
{
	char digits[20];
	int n = 0;

	do
		digits[n++] = "0123456789abcdef"[value % radix];
	while (value /= radix);
	while (n)
		rows[rows_used++] = digits[--n];
}

static void signed_number(long value, unsigned int radix)
{
	if (value < 0)
		rows[rows_used++] = '-';
	number(value < 0 ? -(unsigned long)value : (unsigned long)value, radix);
}

/* ---- chance ---- */

static uint64_t next(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dul;
}

/* A number below n. */
static unsigned long below(unsigned long n)
{
	return (next() >> 20) % n;
}

static bool one_in(unsigned long n)
{
	return !below(n);
}

/* A page of the arena; most lie in a few places, so that mappings meet. */
static unsigned long pick_page(void)
{
	static const uint16_t places[] = { 0, 500, 1010, 1024, 1536 };

	if (one_in(8))
		return below(ARENA_PAGES);
	return places[below(5)] + below(24);
}

static unsigned long pick_start(void)
{
	unsigned int i = (unsigned int)below(PLACED_MAX);

	if (one_in(10) && placed[i].length)
		return placed[i].start + below(placed[i].length / PAGE_BYTES) * PAGE_BYTES;
	if (one_in(12))
		return ((first_brk + PAGE_BYTES - 1) & -PAGE_BYTES) + below(8) * PAGE_BYTES;
	return ARENA + pick_page() * PAGE_BYTES;
}

/* A length in whole pages, seldom more than a few; never over a table and a half. */
static unsigned long pick_length(void)
{
	if (one_in(16))
		return (1 + below(768)) * PAGE_BYTES;
	if (one_in(12))
		return 512 * PAGE_BYTES;
	return (1 + below(9)) * PAGE_BYTES;
}

/* The same, and now and then what is wrong or odd. */
static unsigned long pick_any_length(void)
{
	static const unsigned long odd[] = { 0, 1, 4095, 4097, 1ul << 47, -4096ul, -4097ul, -1ul };

	return one_in(24) ? odd[below(8)] : pick_length();
}

static unsigned long crooked(unsigned long address)
{
	return one_in(40) ? address + 1 + below(PAGE_BYTES - 1) : address;
}

static int pick_prot(void)
{
	static const int usual[] = { PROT_NONE,
				     PROT_READ,
				     PROT_READ,
				     PROT_READ | PROT_WRITE,
				     PROT_READ | PROT_WRITE,
				     PROT_READ | PROT_WRITE,
				     PROT_READ | PROT_EXEC };

	return one_in(4) ? (int)below(8) : usual[below(7)];
}

/* ---- what there is ---- */

static size_t read_whole(const char *path, char *into, size_t size)
{
	long fd = call(SYS_open, (long)path, O_RDONLY, 0, 0, 0, 0), n;
	size_t have = 0;

	if (fd < 0)
		die("cannot open %s", path);
	while ((n = call(SYS_read, fd, (long)(into + have), (long)(size - 1 - have), 0, 0, 0)) > 0)
		have += (size_t)n;
	call(SYS_close, fd, 0, 0, 0, 0, 0);
	into[have] = 0;
	return have;
}

struct mapping {
	unsigned long start, end, offset;
	char perms[5];
	bool own, file; /* the stack and what the kernel maps; a file, not shared memory */
};

static unsigned long hex(const char **at)
{
	unsigned long value = 0;

	for (;; (*at)++) {
		char c = **at;

		if (c >= '0' && c <= '9')
			value = value << 4 | (unsigned long)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (unsigned long)(c - 'a' + 10);
		else
			return value;
	}
}

/* The mapping of the line at *at, which then is the next; false at the end. */
static bool next_mapping(const char **at, struct mapping *m)
{
	const char *line = *at, *name;

	if (!*line)
		return false;
	m->start = hex(&line);
	line++;
	m->end = hex(&line);
	memcpy(m->perms, line + 1, 4);
	m->perms[4] = 0;
	line += 6;
	m->offset = hex(&line);
	name = line;
	while (*line != '\n')
		line++;
	while (name < line && *name != '/' && *name != '[')
		name++;
	m->own = !strncmp(name, "[v", 2) || !strncmp(name, "[stack", 6);
	m->file = *name == '/' && strncmp(name, "/dev/zero", 9);
	*at = line + 1;
	return true;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * 0x100000001b3ul;
}

/* Mappings there are; *hash of their extents and rights. Fills maps[]. */
static long look_at_maps(uint64_t *hash)
{
	const char *at = maps;
	struct mapping m;
	long nr = 0;

	read_whole("/proc/self/maps", maps, sizeof(maps));
	*hash = 0xcbf29ce484222325ul;
	while (next_mapping(&at, &m)) {
		if (m.own)
			continue;
		nr++;
		*hash = mix(mix(*hash, m.start), m.end);
		for (int i = 0; i < 4; i++)
			*hash = mix(*hash, (uint64_t)m.perms[i]);
	}
	return nr;
}

static void look_at_status(long *values)
{
	read_whole("/proc/self/status", status, sizeof(status));
	for (unsigned int i = 0; i < NR_KEYS; i++)
		values[i] = (long)status_kb(status, KEYS[i]);
}

/* Is an access to the page, which lies in the mapping, sure to be allowed? */
static bool is_safe_in(const struct mapping *m, unsigned long address, bool write)
{
	if (address - ARENA >= ARENA_PAGES * PAGE_BYTES || tainted[(address - ARENA) / PAGE_BYTES])
		return false;
	if (m->file && (m->offset + (address - m->start)) / PAGE_BYTES >= file_pages)
		return false;
	return write ? m->perms[1] == 'w' : strncmp(m->perms, "---", 3) != 0;
}

/* The same, by the maps as they were after the last call. */
static bool is_safe(unsigned long address, bool write)
{
	const char *at = maps;
	struct mapping m;

	while (next_mapping(&at, &m))
		if (address >= m.start && address < m.end)
			return is_safe_in(&m, address, write);
	return false;
}

/* Reads 8 bytes as the kernel does, and does nothing else: EINVAL or EFAULT. */
static long probe_read(unsigned long address)
{
	return call(SYS_rt_sigprocmask, 99, (long)address, 0, 8, 0, 0);
}

/* Hash what the arena holds, wherever it can be read; that faults pages in. */
static uint64_t contents(void)
{
	uint64_t hash = 0xcbf29ce484222325ul;
	const char *at = maps;
	struct mapping m;

	while (next_mapping(&at, &m)) {
		if (m.start < ARENA || m.end > ARENA + ARENA_PAGES * PAGE_BYTES)
			continue;
		for (unsigned long page = m.start; page < m.end; page += PAGE_BYTES) {
			if (!is_safe_in(&m, page, false) && probe_read(page) == -EFAULT)
				continue;
			for (unsigned int i = 0; i < NR_OFFSETS; i++)
				hash = mix(hash, *(volatile uint64_t *)(page + OFFSETS[i]));
			hash = mix(hash, page);
		}
	}
	return hash;
}

/* ---- the calls ---- */

static long argument[6];
static const char *what;
static bool hash_now;

static long make(const char *name, long nr, long a, long b, long c, long d, long e, long f)
{
	what = name;
	argument[0] = a;
	argument[1] = b;
	argument[2] = c;
	argument[3] = d;
	argument[4] = e;
	argument[5] = f;
	return call(nr, a, b, c, d, e, f);
}

/* Guard markers may have come, or can be there no more. */
static void taint(unsigned long start, unsigned long length, bool value)
{
	if (length > ARENA_PAGES * PAGE_BYTES)
		length = ARENA_PAGES * PAGE_BYTES;
	for (unsigned long at = start & -PAGE_BYTES; at < start + length; at += PAGE_BYTES)
		if (at - ARENA < ARENA_PAGES * PAGE_BYTES)
			tainted[(at - ARENA) / PAGE_BYTES] = value;
}

static long pick_flags(void)
{
	static const long kinds[] = {
		MAP_PRIVATE, MAP_PRIVATE, MAP_PRIVATE,	       MAP_PRIVATE, MAP_PRIVATE,
		MAP_SHARED,  MAP_SHARED,  MAP_SHARED_VALIDATE, 0,	    8
	};
	static const long more[] = { MAP_NORESERVE,  MAP_NORESERVE,
				     MAP_POPULATE,   MAP_POPULATE,
				     MAP_LOCKED,     MAP_GROWSDOWN,
				     MAP_GROWSDOWN,  MAP_STACK,
				     MAP_32BIT,	     MAP_NONBLOCK | MAP_POPULATE,
				     MAP_HUGETLB,    MAP_DENYWRITE,
				     MAP_EXECUTABLE, MAP_SYNC,
				     0x10000000,     0x80 };
	long flags = one_in(3) ? kinds[below(10)] : MAP_PRIVATE;

	if (!one_in(5))
		flags |= MAP_ANONYMOUS;
	if (one_in(4))
		flags |= more[below(16)];
	if (one_in(12))
		flags |= more[below(16)];
	return flags;
}

static long do_mmap(bool fixed)
{
	static const unsigned long hints[] = { 0,	 0,	0,	   1,
					       0x10000,	 ARENA, ARENA + 5, 0x7fff00000000,
					       1ul << 47 };
	unsigned long start = crooked(pick_start()), length = pick_any_length(),
		      offset = below(file_pages + 4) * PAGE_BYTES;
	long flags = pick_flags(), prot = pick_prot(), fd = one_in(30) ? 99 : file_fd, ret;

	if (!(flags & MAP_ANONYMOUS))
		flags &= ~MAP_SYNC; /* depends on the file system */
	if (fixed)
		flags |= one_in(8) ? MAP_FIXED_NOREPLACE : MAP_FIXED;
	else
		start = one_in(3) ? start : hints[below(9)];
	if (one_in(60))
		prot |= 0x10;
	if (one_in(60))
		offset += 1;
	if (one_in(60))
		offset = -4096ul;
	/* Never over the program itself, and nothing of libc's is where these reach. */
	ret = make("mmap", SYS_mmap, (long)start, (long)length, prot, flags, fd, (long)offset);
	if (ret < 0 && ret > -4096)
		return ret;
	taint((unsigned long)ret, length, false);
	if (!fixed) {
		placed[placed_next].start = (unsigned long)ret;
		placed[placed_next].length = (length + PAGE_BYTES - 1) & -PAGE_BYTES;
		placed_next = (placed_next + 1) % PLACED_MAX;
	}
	return ret;
}

static long do_munmap(void)
{
	unsigned long start = crooked(pick_start()), length = pick_any_length();
	long ret;

	/* What lies behind a placed mapping may be a file of the kernel's, or the stack. */
	if (start - ARENA >= ARENA_PAGES * PAGE_BYTES && length > PAGE_BYTES)
		length = PAGE_BYTES;
	ret = make("munmap", SYS_munmap, (long)start, (long)length, 0, 0, 0, 0);
	if (!ret)
		taint(start, length, false);
	return ret;
}

/* A length for what goes on behind a hole: it must not come to the stack, nor far from where start
 * is. */
static unsigned long near(unsigned long start, unsigned long length)
{
	if (length == 1ul << 47)
		length = 1ul << 36;
	return start - ARENA >= ARENA_PAGES * PAGE_BYTES && length > 4 * PAGE_BYTES ? PAGE_BYTES
										    : length;
}

static long do_mprotect(void)
{
	static const int odd[] = {
		8, 0x10, PROT_GROWSDOWN | PROT_READ, PROT_GROWSUP, PROT_GROWSDOWN | PROT_GROWSUP, -1
	};
	unsigned long start = pick_start(), length = near(start, pick_any_length());

	return make("mprotect", SYS_mprotect, (long)crooked(start), (long)length,
		    one_in(12) ? odd[below(6)] : pick_prot(), 0, 0, 0);
}

static long do_madvise(void)
{
	static const int usual[] = {
		MADV_DONTNEED,	     MADV_DONTNEED,	     MADV_FREE,
		MADV_GUARD_INSTALL,  MADV_GUARD_INSTALL + 1, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_DONTNEED_LOCKED,   MADV_REMOVE,
		MADV_PAGEOUT
	};
	unsigned long start = pick_start(), length = near(start, pick_any_length());
	int advice = one_in(2)	 ? usual[below(10)]
		     : one_in(6) ? 100 + (int)below(4)
				 : (int)below(31);

	if (advice == MADV_GUARD_INSTALL)
		taint(start, length, true);
	return make("madvise", SYS_madvise, (long)crooked(start), (long)length, advice, 0, 0, 0);
}

static long do_brk(void)
{
	unsigned long to =
		now_brk + (below(9) - 4) * PAGE_BYTES + (one_in(4) ? below(PAGE_BYTES) : 0);
	long ret;

	if (one_in(20))
		to = one_in(2) ? first_brk - 1 : 1ul << 47;
	else if (to < first_brk)
		to = first_brk;
	ret = make("brk", SYS_brk, (long)to, 0, 0, 0, 0, 0);
	now_brk = (unsigned long)ret;
	return ret;
}

static long do_lock(void)
{
	unsigned long start = pick_start(), length = near(start, pick_any_length());

	if (one_in(16))
		return make("mlockall", SYS_mlockall, one_in(6) ? (long)below(9) : MCL_FUTURE, 0, 0,
			    0, 0, 0);
	if (one_in(5))
		return make("munlockall", SYS_munlockall, 0, 0, 0, 0, 0, 0);
	switch (below(4)) {
	case 0:
		return make("mlock2", SYS_mlock2, (long)crooked(start), (long)length,
			    (long)below(3), 0, 0, 0);
	case 1:
		return make("mlock", SYS_mlock, (long)crooked(start), (long)length, 0, 0, 0, 0);
	}
	return make("munlock", SYS_munlock, (long)crooked(start), (long)length, 0, 0, 0, 0);
}

static long do_mremap(void)
{
	static const int odd[] = { 8, MREMAP_FIXED, 4, 7, -1 };
	unsigned long start = ARENA + pick_page() * PAGE_BYTES, old = pick_any_length(),
		      new = one_in(2) ? old : pick_any_length(),
		      to = crooked(ARENA + pick_page() * PAGE_BYTES);
	int flags = one_in(3)	? MREMAP_MAYMOVE
		    : one_in(2) ? MREMAP_MAYMOVE | MREMAP_FIXED
		    : one_in(3) ? MREMAP_MAYMOVE | 4
		    : one_in(9) ? odd[below(5)]
				: 0;
	long ret;

	if (new > 1ul << 36)
		new = PAGE_BYTES;
	ret = make("mremap", SYS_mremap, (long)crooked(start), (long)old, (long)new, flags,
		   (long)to, 0);
	if (ret > 0 || ret < -4095)
		taint((unsigned long)ret, new, true);
	return ret;
}

/* What looks, and what acts on several ranges or for ever. */
static long do_seldom(void)
{
	static unsigned char residency[ARENA_PAGES];
	static struct {
		unsigned long start, length;
	} v[2];
	unsigned long start = pick_start(), length = near(start, pick_any_length());
	uint64_t hash = 0;
	long ret;

	switch (below(8)) {
	case 0:
		return make("mseal", 462, (long)crooked(start), PAGE_BYTES, one_in(9), 0, 0, 0);
	case 1:
	case 2:
		v[0].start = crooked(start);
		v[0].length = length;
		v[1].start = pick_start();
		v[1].length = near(v[1].start, pick_length());
		ret = make("process_madvise", 440, -10000, (long)v, 2,
			   one_in(2) ? MADV_DONTNEED : MADV_FREE, 0, 0);
		argument[1] = (long)v[0].start;
		argument[5] = (long)v[1].start;
		return ret;
	case 3:
		return make("remap_file_pages", SYS_remap_file_pages, (long)start, (long)length, 0,
			    (long)below(64), one_in(4) ? MAP_NONBLOCK : 0, 0);
	}
	if (length > sizeof(residency) * PAGE_BYTES && length < 1ul << 46)
		length = sizeof(residency) * PAGE_BYTES;
	memset(residency, 9, sizeof(residency));
	ret = make("mincore", SYS_mincore, (long)crooked(start), (long)length, (long)residency, 0,
		   0, 0);
	for (unsigned int i = 0; i < sizeof(residency); i++)
		hash = mix(hash, residency[i]);
	argument[2] = (long)hash;
	return ret;
}

static long do_limit(void)
{
	static const int which[] = { RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_MEMLOCK };
	static struct rlimit old, new;
	int resource = which[below(4)];
	long used, values[NR_KEYS];

	if (one_in(10))
		return make("prlimit", SYS_prlimit64, (long)below(3) * 99999, (long)below(18), 0,
			    (long)&old, 0, 0);
	look_at_status(values);
	used = values[resource == RLIMIT_AS	 ? 0
		      : resource == RLIMIT_DATA	 ? 2
		      : resource == RLIMIT_STACK ? 3
						 : 4]
	       << 10;
	call(SYS_prlimit64, 0, resource, 0, (long)&old, 0, 0);
	new = old;
	new.rlim_cur = one_in(3) ? (unsigned long)used + below(40) * PAGE_BYTES : old.rlim_max;
	if (resource == RLIMIT_STACK && new.rlim_cur < 1 << 20)
		new.rlim_cur = 1 << 20;
	if (one_in(20))
		new.rlim_cur = one_in(2) && resource != RLIMIT_STACK ? 0 : old.rlim_max + 1;
	if (one_in(20))
		new.rlim_max = one_in(2) ? old.rlim_max + 1 : new.rlim_cur;
	if (new.rlim_max < 1ul << 30 && resource != RLIMIT_MEMLOCK)
		new.rlim_max = old.rlim_max;
	used = make("setrlimit", SYS_setrlimit, resource, (long)&new, 0, 0, 0, 0);
	argument[1] = (long)(new.rlim_cur == RLIM_INFINITY ? -1 : (long)new.rlim_cur);
	argument[2] = (long)new.rlim_max;
	return used;
}

static long do_access(void)
{
	unsigned long address = pick_start(), pages = 1 + below(one_in(8) ? 64 : 4), n = 0;
	unsigned int offset = OFFSETS[below(NR_OFFSETS)];
	bool write = one_in(2);
	uint64_t got = 0, value = next();

	argument[0] = (long)(address + offset);
	argument[1] = (long)pages;
	for (; n < pages && is_safe(address, write); n++, address += PAGE_BYTES) {
		if (write)
			*(volatile uint64_t *)(address + offset) = value;
		else
			got = mix(got, *(volatile uint64_t *)(address + offset));
	}
	if (n) {
		what = write ? "write" : "read";
		return write ? (long)n : (long)(got >> 1);
	}
	address = pick_start() + offset;
	if (!write)
		return make("probe_read", SYS_rt_sigprocmask, 99, (long)address, 0, 8, 0, 0);
	if (one_in(2))
		return make("probe_write", SYS_rt_sigprocmask, 0, 0, (long)address, 8, 0, 0);
	return make("pread", SYS_pread64, file_fd, (long)address, (long)(8 + below(2 * PAGE_BYTES)),
		    (long)below(8 * PAGE_BYTES), 0, 0);
}

static long make_one(void)
{
	unsigned long chance = below(100);

	hash_now = one_in(32);
	memset(argument, 0, sizeof(argument));
	if (chance < 20)
		return do_mmap(true);
	if (chance < 25)
		return do_mmap(false);
	if (chance < 32)
		return do_munmap();
	if (chance < 44)
		return do_mprotect();
	if (chance < 65)
		return do_madvise();
	if (chance < 68)
		return do_brk();
	if (chance < 72)
		return do_lock();
	if (chance < 74)
		return do_limit();
	if (chance < 79)
		return do_mremap();
	if (chance < 84)
		return do_seldom();
	return do_access();
}

/* ---- the run ---- */

/* Have every page of the program present, so that none comes later. */
static void touch_self(void)
{
	const char *at = maps;
	struct mapping m;
	uint64_t hash;
	volatile char deep[96 << 10];

	for (size_t i = 0; i < sizeof(deep); i += PAGE_BYTES)
		deep[i] = 1;
	for (size_t i = 0; i < sizeof(rows); i += PAGE_BYTES)
		rows[i] = 1;
	for (size_t i = 0; i < sizeof(maps); i += PAGE_BYTES)
		maps[i] = 1;
	look_at_maps(&hash);
	while (next_mapping(&at, &m))
		for (unsigned long page = m.start; !m.own && page < m.end; page += PAGE_BYTES) {
			volatile char *p = (volatile char *)page;

			if (m.perms[1] == 'w')
				*p = *p;
			else if (m.perms[0] == 'r')
				*p;
		}
}

static void set_up(void)
{
	struct rlimit limit = { MEMLOCK, MEMLOCK }, stack = { STACK_LIMIT, 8 * STACK_LIMIT };
	uint64_t hash;
	long n;

	if (!getuid())
		die("not as root: the rules for an ordinary user are compared, and MADV_HWPOISON would be obeyed");
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		die("RLIMIT_MEMLOCK cannot be %lu", MEMLOCK);
	if (setrlimit(RLIMIT_STACK, &stack))
		die("RLIMIT_STACK cannot be %lu", STACK_LIMIT);
	file_fd = call(SYS_open, (long)"/proc/self/exe", O_RDONLY, 0, 0, 0, 0);
	if (file_fd < 0)
		die("cannot open /proc/self/exe");
	while ((n = call(SYS_pread64, file_fd, (long)maps, PAGE_BYTES,
			 (long)(file_pages * PAGE_BYTES), 0, 0)) > 0)
		file_pages++;
	touch_self();
	first_brk = now_brk = (unsigned long)call(SYS_brk, 0, 0, 0, 0, 0, 0);
	look_at_status(base);
	look_at_status(base);
	base_maps = look_at_maps(&hash);
	base[1] = base[0];
}

static void say_row(unsigned long nr, long ret, bool show_maps)
{
	long values[NR_KEYS], nr_maps;
	uint64_t hash;

	number(nr, 10);
	text(" ");
	text(what);
	text("(");
	for (int i = 0; i < 6; i++) {
		if (i)
			text(", ");
		number((unsigned long)argument[i], 16);
	}
	text(") = ");
	signed_number(ret, 16);
	text(" |");
	nr_maps = look_at_maps(&hash);
	look_at_status(values);
	for (unsigned int i = 0; i < NR_KEYS; i++) {
		text(" ");
		signed_number(values[i] - base[i], 10);
	}
	text(" | ");
	signed_number(nr_maps - base_maps, 10);
	text(" ");
	number(hash, 16);
	if (hash_now) {
		text(" ");
		number(contents(), 16);
	}
	text("\n");
	if (show_maps)
		text(maps);
	if (rows_used > ROWS_FLUSH)
		flush_rows();
}

int main(int argc, char **argv)
{
	unsigned long calls, first;

	if (argc < 3)
		die("usage: mm_random SEED CALLS [FIRST]");
	state = (strtoul(argv[1], NULL, 0) + 1) * 0x9e3779b97f4a7c15ul;
	calls = strtoul(argv[2], NULL, 0);
	first = argc > 3 ? strtoul(argv[3], NULL, 0) : calls;
	set_up();
	for (unsigned long nr = 0; nr < calls; nr++) {
		long ret = make_one();

		say_row(nr, ret, nr >= first);
	}
	flush_rows();
	call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}
