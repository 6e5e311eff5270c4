/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The self-test of the private parts: an instance whose virtual addresses are its physical ones,
 * but for one page that is absent, runs two loads, a store and a denied store, instructions of one
 * block.
 */
#include <stdlib.h>
#include <string.h>

#include "unicorn/vcpu.h"

#define TEST_CODE 0x1000
#define TEST_STUB 0x2000
#define TEST_LOAD 0x3123
#define TEST_STORE 0x4567
#define TEST_OWN 0x6000 /* stores to itself */
#define TEST_ABSENT 0x9678
#define TEST_OTHER 0x5000
#define TEST_USER 0xa000
#define TEST_SIZE 0x10000
#define TEST_COUNT 1000
#define TEST_LOAD_NR 2 /* the first load is the second instruction */
#define TEST_IO 0x20000
#define TEST_FILL_RIP (TEST_CODE + 1)
#define TEST_LOAD_RIP (TEST_CODE + 8)
#define TEST_STORE_RIP (TEST_CODE + 15)
#define TEST_DENIED_RIP (TEST_CODE + 22)

static const u8 test_code[] = {
	0x90,					  /* nop */
	0x8a, 0x04, 0x25, 0x23, 0x31, 0x00, 0x00, /* mov al, [TEST_LOAD] */
	0x8a, 0x04, 0x25, 0x23, 0x31, 0x00, 0x00, /* mov al, [TEST_LOAD] */
	0x88, 0x04, 0x25, 0x67, 0x45, 0x00, 0x00, /* mov [TEST_STORE], al */
	0x88, 0x04, 0x25, 0x78, 0x96, 0x00, 0x00, /* mov [TEST_ABSENT], al */
};
static const u8 test_own[] = {
	0xc7, 0x04, 0x25, 0x13, 0x60, 0,    0, /* mov dword ptr [TEST_OWN + 19], .. */
	0x90, 0x90, 0x90, 0x90,		       /* .. four NOPs, where NOPs are */
	0x8a, 0x04, 0x25, 0x23, 0x31, 0,    0, /* mov al, [TEST_LOAD] */
	0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
};
static const u8 test_stub[] = { 0x48, 0x0f, 0x07 }; /* sysretq */

struct self_test {
	struct load_target load; /* first, as in struct vcpu */
	struct fill_target *target;
	struct vcpu *v;		 /* only what UC() and the functions above use */
	u64 address[3];		 /* by access: the last fill's */
	u32 fills[3];		 /* by access */
	u64 load_rip, store_rip; /* RIP as the memory hooks saw it last */
	u64 fill_rip[3];	 /* by access: RIP as the last fill saw it */
	u64 asker;		 /* of the last fill */
	bool skip, find, set;	 /* what the memory hook tries */
	bool nest;		 /* ... a run inside the run */
	bool hear;		 /* what a load's fill tries */
	u32 loads;		 /* that the memory hook was told of */
	bool overwritten;	 /* whether that run was seen in what Unicorn keeps */
	struct unicorn_run run;
	bool io; /* I/O was read */
};

static bool test_fill(void *self, u64 page, u64 va, u32 access, uc_tlb_entry *entry)
{
	struct self_test *test = self;

	test->address[access] = va;
	test->fills[access]++;
	test->asker = private_asker(test->v);
	test->fill_rip[access] = reg_read(test->v, UC_X86_REG_RIP);
	*test->v->skip_pc = test->skip;
	if (test->hear && access == ACCESS_READ)
		private_hear_again(test->v);
	if (page == page_of(TEST_ABSENT) || page == TEST_USER)
		return false;
	entry->paddr = page;
	entry->perms = UC_PROT_ALL;
	return true;
}

/* Once: run an instruction inside the run under way, see that this has overwritten it, undo that.
 */
static void test_nested(struct self_test *test)
{
	struct vcpu *v = test->v;
	struct unicorn_run now;

	test->nest = false;
	private_save_run(v, &test->run);
	UC(v, emu_start)(v->uc, TEST_CODE, 0, 0, 1);
	private_save_run(v, &now);
	test->overwritten = now.count == 1 && !test->run.stop && now.stop;
	private_restore_run(v, &test->run);
}

static void test_memory(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *user)
{
	struct self_test *test = user;

	(void)uc, (void)pa, (void)size, (void)value;
	*test->v->skip_pc = test->skip;
	if (test->nest)
		test_nested(test);
	if (type == UC_MEM_WRITE) {
		test->store_rip = reg_read(test->v, UC_X86_REG_RIP);
		return;
	}
	test->loads++;
	test->v->load = test->load;
	test->load_rip = test->find ? private_rip(test->v) : reg_read(test->v, UC_X86_REG_RIP);
	if (test->set)
		private_set_page(test->v, TEST_LOAD, TEST_OTHER, PERM_R);
}

/* Run the test's three instructions; true if they ended as they must. */
static bool test_run(struct self_test *test)
{
	struct vcpu *v = test->v;

	memset(test->fills, 0, sizeof(test->fills));
	memset(test->address, 0, sizeof(test->address));
	return UC(v, emu_start)(v->uc, TEST_CODE, 0, 0, 0) == UC_ERR_EXCEPTION &&
	       reg_read(v, UC_X86_REG_RIP) == TEST_DENIED_RIP;
}

static bool test_fill_address(struct self_test *test)
{
	return test_run(test) && test->address[ACCESS_READ] == TEST_LOAD &&
	       test->address[ACCESS_WRITE] == TEST_ABSENT &&
	       test->address[ACCESS_FETCH] == TEST_CODE;
}

static bool test_flush_page(struct self_test *test)
{
	if (!test_run(test))
		return false;
	private_flush_page(test->v, TEST_LOAD);
	return test_run(test) && test->fills[ACCESS_READ] == 1 && test->fills[ACCESS_WRITE] == 1;
}

static bool test_skip_pc(struct self_test *test)
{
	bool exact, stale;

	exact = test_run(test) && test->store_rip == TEST_STORE_RIP;
	test->skip = true;
	stale = test_run(test) && test->store_rip != TEST_STORE_RIP;
	test->skip = false;
	return exact && stale;
}

/* RIP of a load where hooks find it stale, and of fills, which find it right. */
static bool test_load_rip(struct self_test *test)
{
	bool stale, found;

	test->skip = true;
	private_flush_page(test->v, TEST_LOAD);
	stale = test_run(test) && test->load_rip != TEST_LOAD_RIP;
	test->find = true;
	private_flush_page(test->v, TEST_LOAD);
	found = test_run(test) && test->load_rip == TEST_LOAD_RIP &&
		test->fill_rip[ACCESS_READ] == TEST_FILL_RIP &&
		test->fill_rip[ACCESS_WRITE] == TEST_DENIED_RIP;
	test->find = false;
	test->skip = false;
	return stale && found;
}

static bool test_set_page(struct self_test *test)
{
	struct vcpu *v = test->v;
	u8 old = 1, new = 2, al;

	UC(v, mem_write)(v->uc, TEST_LOAD, &old, 1);
	UC(v, mem_write)(v->uc, TEST_OTHER | (TEST_LOAD & ~PAGE_MASK), &new, 1);
	test->set = true;
	if (!test_run(test))
		return false;
	test->set = false;
	al = (u8)reg_read(v, UC_X86_REG_RAX);
	private_flush_page(v, TEST_LOAD);
	return al == new;
}

static void set_context_mode(struct vcpu *v, int mode)
{
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_CONTEXT_MODE, 1), mode);
}

/* What a context holds. */
static bool test_context(struct self_test *test)
{
	struct vcpu *v = test->v;
	u32 before = private_context_mode(v->uc), both;

	set_context_mode(v, UC_CTL_CONTEXT_CPU | UC_CTL_CONTEXT_MEMORY);
	both = private_context_mode(v->uc);
	set_context_mode(v, UC_CTL_CONTEXT_CPU);
	return before == UC_CTL_CONTEXT_CPU &&
	       both == (UC_CTL_CONTEXT_CPU | UC_CTL_CONTEXT_MEMORY) &&
	       private_context_mode(v->uc) == UC_CTL_CONTEXT_CPU;
}

/* What Unicorn keeps of a run: the count, and whether it was stopped. */
static bool test_unicorn_run(struct self_test *test)
{
	struct vcpu *v = test->v;
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0)); /* no code without Unicorn's count */
	test->nest = true;
	return UC(v, emu_start)(v->uc, TEST_CODE, 0, 0, TEST_COUNT) == UC_ERR_EXCEPTION &&
	       reg_read(v, UC_X86_REG_RIP) == TEST_DENIED_RIP && test->overwritten &&
	       test->run.count == TEST_COUNT && test->run.counter == TEST_LOAD_NR;
}

/* Privilege 0 before, 3 after a SYSRETQ whose target is absent. */
static bool test_cpl(struct self_test *test)
{
	struct vcpu *v = test->v;
	uc_x86_msr star = { .rid = MSR_STAR, .value = 0x23ull << 48 };
	uc_x86_msr efer = { .rid = MSR_EFER, .value = EFER_SCE | EFER_LME | EFER_LMA };
	bool kernel = (*v->hflags & 3) == 0;

	UC(v, reg_write)(v->uc, UC_X86_REG_MSR, &star);
	UC(v, reg_write)(v->uc, UC_X86_REG_MSR, &efer);
	reg_write(v, UC_X86_REG_RCX, TEST_USER);
	reg_write(v, UC_X86_REG_R11, 2);
	UC(v, emu_start)(v->uc, TEST_STUB, 0, 0, 0);
	return kernel && reg_read(v, UC_X86_REG_RIP) == TEST_USER && (*v->hflags & 3) == 3;
}

static u64 test_io(uc_engine *uc, u64 offset, unsigned size, void *user)
{
	struct self_test *test = user;

	(void)uc, (void)offset, (void)size;
	test->io = true;
	return 0;
}

/* Code that the host changed is executed as it was, until it is dropped. */
static bool test_drop(struct self_test *test)
{
	struct vcpu *v = test->v;
	const u8 old = 1, new = 2, place = (u8)(TEST_LOAD + 1);
	u8 before;

	UC(v, mem_write)(v->uc, TEST_LOAD, &old, 1);
	UC(v, mem_write)(v->uc, TEST_LOAD + 1, &new, 1);
	if (!test_run(test))
		return false;
	UC(v, mem_write)(v->uc, TEST_LOAD_RIP + 3, &place, 1);
	before = test_run(test) ? (u8)reg_read(v, UC_X86_REG_RAX) : 0;
	private_drop_code(v, TEST_CODE, PAGE_SIZE);
	return before == old && test_run(test) && (u8)reg_read(v, UC_X86_REG_RAX) == new;
}

/* The host address of memory: bytes go both ways. Of I/O and of nothing there is none. */
static bool test_host(struct self_test *test)
{
	struct vcpu *v = test->v;
	const u8 there = 0x5a, other = 0xa5;
	u8 back = 0, *host = private_host(v, TEST_LOAD, TEST_OTHER - TEST_LOAD);

	if (!host || private_host(v, TEST_LOAD, TEST_SIZE) || private_host(v, TEST_SIZE, 1) ||
	    UC(v, mmio_map)(v->uc, TEST_IO, PAGE_SIZE, test_io, test, NULL, NULL) != UC_ERR_OK ||
	    private_host(v, TEST_IO, PAGE_SIZE) || test->io)
		return false;
	UC(v, mem_write)(v->uc, TEST_OTHER - 1, &there, 1);
	if (host[TEST_OTHER - 1 - TEST_LOAD] != there)
		return false;
	host[0] = other;
	UC(v, mem_read)(v->uc, TEST_LOAD, &back, 1);
	return back == other;
}

/* The guest, a host that invalidates code, and nobody: three answers. */
static bool test_asker(struct self_test *test)
{
	struct vcpu *v = test->v;
	u64 guest, invalidator, pa;
	bool nobody = !private_asker(v), probes;

	if (!test_run(test))
		return false;
	guest = test->asker;
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_REMOVE_CACHE, 2), (u64)TEST_USER,
		   TEST_USER + 1ull);
	invalidator = test->asker;
	probes = !test->target->probe;
	UC(v, vmem_translate)(v->uc, TEST_USER, UC_PROT_READ, &pa);
	probes &= test->target->probe && !test->asker;
	return nobody && guest && invalidator && guest != invalidator && probes;
}

/* Loads that are told of behind a misaligned store to its own block. */
static u32 loads_behind_store(struct self_test *test, bool hear)
{
	struct vcpu *v = test->v;

	test->hear = hear;
	test->loads = 0;
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
	if (UC(v, mem_write)(v->uc, TEST_OWN, test_own, sizeof(test_own)) != UC_ERR_OK ||
	    UC(v, emu_start)(v->uc, TEST_OWN, TEST_OWN + sizeof(test_own), 0, 0) != UC_ERR_OK)
		return ~0u;
	test->hear = false;
	return test->loads;
}

static bool test_hearing(struct self_test *test)
{
	return loads_behind_store(test, false) == 0 && loads_behind_store(test, true) == 1;
}

/* Try what is wanted, one after the other, on the prepared instance. */
static u32 run_tests(struct self_test *test, u32 wanted)
{
	u32 works = 0;

	if ((wanted & PRIVATE_FILL_ADDRESS) && test_fill_address(test))
		works |= PRIVATE_FILL_ADDRESS;
	if ((wanted & PRIVATE_FLUSH_PAGE) && test_flush_page(test))
		works |= PRIVATE_FLUSH_PAGE;
	if ((wanted & PRIVATE_SKIP_PC) && test_skip_pc(test))
		works |= PRIVATE_SKIP_PC;
	if ((wanted & PRIVATE_LOAD_RIP) && (works & PRIVATE_FLUSH_PAGE) && test_load_rip(test))
		works |= PRIVATE_LOAD_RIP;
	if ((wanted & PRIVATE_SET_PAGE) && (works & PRIVATE_FLUSH_PAGE) && test_set_page(test))
		works |= PRIVATE_SET_PAGE;
	if ((wanted & PRIVATE_ASKER) && (works & PRIVATE_FILL_ADDRESS) && test_asker(test))
		works |= PRIVATE_ASKER;
	if ((wanted & PRIVATE_RUN) && test_unicorn_run(test))
		works |= PRIVATE_RUN;
	if ((wanted & PRIVATE_HOST) && test_host(test) && test_drop(test))
		works |= PRIVATE_HOST;
	if ((wanted & PRIVATE_CPL) && test_cpl(test))
		works |= PRIVATE_CPL;
	if ((wanted & PRIVATE_CONTEXT) && test_context(test))
		works |= PRIVATE_CONTEXT;
	if ((wanted & PRIVATE_ENV) && test_private_env(&test->v->api))
		works |= PRIVATE_ENV;
	if ((wanted & PRIVATE_HEARING) && test_hearing(test))
		works |= PRIVATE_HEARING;
	return works;
}

u32 private_self_test(const struct uc_api *api, u32 wanted)
{
	struct vcpu *v = vcpu_alloc(api);
	struct self_test test = { .load.hook = test_memory, .v = v };
	struct fill_target target = { .fill = test_fill, .self = &test };
	uc_hook hook;
	u32 works = 0;

	if (!v)
		return 0;
	test.target = &target;
	if (!wanted || UC(v, open)(UC_ARCH_X86, UC_MODE_64, &v->uc) != UC_ERR_OK) {
		free(v);
		return 0;
	}
	if (UC(v, mem_map)(v->uc, 0, TEST_SIZE, UC_PROT_ALL) == UC_ERR_OK &&
	    UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TLB_TYPE, 1), UC_TLB_VIRTUAL) == UC_ERR_OK &&
	    UC(v, mem_write)(v->uc, TEST_CODE, test_code, sizeof(test_code)) == UC_ERR_OK &&
	    UC(v, mem_write)(v->uc, TEST_STUB, test_stub, sizeof(test_stub)) == UC_ERR_OK &&
	    UC(v, hook_add)(v->uc, &hook, UC_HOOK_TLB_FILL, private_fill_hook(wanted), &target,
			    (u64)1, (u64)0) == UC_ERR_OK &&
	    UC(v, hook_add)(v->uc, &hook, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE,
			    private_load_hook(wanted, &test.load), &test, (u64)1,
			    (u64)0) == UC_ERR_OK) {
		private_bind(v, wanted);
		works = run_tests(&test, wanted);
	}
	UC(v, close)(v->uc);
	free(v);
	return works;
}
