// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The host's side of one small virtual machine (Linux, Documentation/virt/kvm/api.rst).
 *
 * What the guest executes, and its tables, are the caller's: bytes in its RAM.
 */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define NR_CPUID 256
#define TSS_LIMIT 0x67
#define LDT_LIMIT 0x1f
#define IDT_LIMIT 0xfff

/* A 64-bit TSS needs no memory of KVM's own but on old Intel parts: three pages out of RAM's way.
 */
#define KVM_TSS_ADDRESS 0xfffbd000

/* The timer's signal: whatever KVM_RUN does, it returns, and so does one that has not begun. */
static void time_is_over(int signal, siginfo_t *info, void *context)
{
	struct kvm_run *run = info->si_value.sival_ptr;

	(void)signal;
	(void)context;
	if (info->si_code == SI_TIMER)
		run->immediate_exit = 1;
}

/* A timer that signals this thread; 0 or -errno. */
static int make_timer(struct kvm_machine *m)
{
	struct sigaction action = { .sa_sigaction = time_is_over, .sa_flags = SA_SIGINFO };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 3 };
	timer_t timer;

	event.sigev_value.sival_ptr = m->run;
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	if (sigaction(event.sigev_signo, &action, NULL) ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer))
		return -errno;
	m->timer = timer;
	return 0;
}

static void set_timer(struct kvm_machine *m, uint32_t milliseconds)
{
	struct itimerspec when = {
		.it_value = { milliseconds / 1000, milliseconds % 1000 * 1000000L },
		.it_interval = { 0, milliseconds ? 10000000L : 0 },
	};

	timer_settime((timer_t)m->timer, 0, &when, NULL);
}

/* Give the guest RAM, or (size 0) take it away; 0 or -errno. */
static int set_ram(struct kvm_machine *m, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = size,
		.userspace_addr = (uintptr_t)m->ram,
	};

	return ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

/* All the CPUID that this KVM supports; NULL with errno. The caller frees it. */
static struct kvm_cpuid2 *supported_cpuid(int kvm)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + NR_CPUID * sizeof(cpuid->entries[0]));

	if (!cpuid)
		return NULL;
	cpuid->nent = NR_CPUID;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid)) {
		free(cpuid);
		return NULL;
	}
	return cpuid;
}

/* Make the machine; 0, or -errno with the step that failed. Close it in both cases. */
int machine_open(struct kvm_machine *m, uint64_t ram_size, const char **stage)
{
	int size;

	memset(m, 0, sizeof(*m));
	m->vm = m->vcpu = -1;
	*stage = "open /dev/kvm";
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0)
		return -errno;
	*stage = "KVM_GET_API_VERSION 12";
	if (ioctl(m->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return -ENOSYS;
	*stage = "KVM_CAP_IMMEDIATE_EXIT";
	if (ioctl(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) != 1)
		return -ENOSYS;
	*stage = "KVM_CREATE_VM";
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0)
		return -errno;
	*stage = "KVM_SET_TSS_ADDR";
	if (ioctl(m->vm, KVM_SET_TSS_ADDR, KVM_TSS_ADDRESS))
		return -errno;
	*stage = "mmap of RAM";
	m->ram = mmap(NULL, ram_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->ram == MAP_FAILED) {
		m->ram = NULL;
		return -errno;
	}
	m->ram_size = ram_size;
	*stage = "KVM_SET_USER_MEMORY_REGION";
	if (set_ram(m, ram_size))
		return -errno;
	*stage = "KVM_CREATE_VCPU";
	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->vcpu < 0)
		return -errno;
	*stage = "mmap of the vCPU";
	size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		return -errno;
	m->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	if (m->run == MAP_FAILED) {
		m->run = NULL;
		return -errno;
	}
	m->run_size = (uint32_t)size;
	*stage = "timer_create";
	return make_timer(m);
}

/* Undo machine_open(), however far it came. */
void machine_close(struct kvm_machine *m)
{
	if (m->timer)
		timer_delete((timer_t)m->timer);
	if (m->run)
		munmap(m->run, m->run_size);
	if (m->vcpu >= 0)
		close(m->vcpu);
	if (m->vm >= 0)
		close(m->vm);
	if (m->kvm >= 0)
		close(m->kvm);
	if (m->ram)
		munmap(m->ram, m->ram_size);
	memset(m, 0, sizeof(*m));
	m->kvm = m->vm = m->vcpu = -1;
}

/*
 * Have KVM forget every shadow of the guest's tables: it does not see what the host writes to them.
 * 0 or -errno.
 */
int machine_forget(struct kvm_machine *m)
{
	int error = set_ram(m, 0);

	return error ? error : set_ram(m, m->ram_size);
}

/* Whether this KVM, for this machine, has a KVM_CAP_*: its number, 0 or -1. */
int machine_extension(struct kvm_machine *m, uint32_t cap)
{
	return ioctl(m->vm, KVM_CHECK_EXTENSION, (unsigned long)cap);
}

/* All the CPUID that this KVM supports; how many leaves, or -errno. */
int machine_supported_cpuid(struct kvm_machine *m, struct kvm_cpuid_leaf *leaves, uint32_t room)
{
	struct kvm_cpuid2 *cpuid = supported_cpuid(m->kvm);
	uint32_t i;

	if (!cpuid)
		return -errno;
	for (i = 0; i < cpuid->nent && i < room; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		leaves[i] = (struct kvm_cpuid_leaf){
			e->function, e->index, e->flags, e->eax, e->ebx, e->ecx, e->edx,
		};
	}
	free(cpuid);
	return (int)i;
}

/* The CPUID that the guest sees, before it first runs; 0 or -errno. */
int machine_set_cpuid(struct kvm_machine *m, const struct kvm_cpuid_leaf *leaves, uint32_t nr)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + nr * sizeof(cpuid->entries[0]));
	uint32_t i;
	int error;

	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = nr;
	for (i = 0; i < nr; i++) {
		const struct kvm_cpuid_leaf *l = &leaves[i];

		cpuid->entries[i] = (struct kvm_cpuid_entry2){
			.function = l->function,
			.index = l->index,
			.flags = l->flags,
			.eax = l->eax,
			.ebx = l->ebx,
			.ecx = l->ecx,
			.edx = l->edx,
		};
	}
	error = ioctl(m->vcpu, KVM_SET_CPUID2, cpuid) ? -errno : 0;
	free(cpuid);
	return error;
}

/* A flat segment of a 64-bit processor at privilege level dpl (SDM vol. 3A 3.4.5). */
static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, uint8_t dpl, bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector | dpl,
		.type = type,
		.present = 1,
		.dpl = dpl,
		.db = !code,
		.s = 1,
		.l = code,
		.g = 1,
	};
}

static struct kvm_segment system_segment(uint16_t selector, uint64_t base, uint32_t limit,
					 uint8_t type)
{
	return (struct kvm_segment){
		.base = base,
		.limit = limit,
		.selector = selector,
		.type = type,
		.present = 1,
	};
}

static int set_registers(struct kvm_machine *m, const struct kvm_state *s)
{
	uint8_t cpl = (uint8_t)s->cpl;
	struct kvm_segment data = flat_segment(0x10, 3, cpl, false);
	struct kvm_sregs sregs = {
		.cs = flat_segment(cpl ? 0x18 : 0x8, 11, cpl, true),
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		.tr = system_segment(0x20, s->tss_base, TSS_LIMIT, 11),
		.ldt = system_segment(0x30, s->ldt_base, LDT_LIMIT, 2),
		.gdt = { .base = s->gdt_base, .limit = 0xffff },
		.idt = { .base = s->idt_base, .limit = IDT_LIMIT },
		.cr0 = s->cr0,
		.cr3 = s->cr3,
		.cr4 = s->cr4,
		.efer = s->efer,
		.apic_base = 0xfee00900,
	};
	struct kvm_regs regs = {
		.rip = s->rip,
		.rsp = s->rsp,
		.rflags = s->rflags | 2,
		.rax = s->rax,
		.rcx = s->rcx,
		.rdx = s->rdx,
		.rsi = s->rsi,
	};
	struct kvm_vcpu_events events = { 0 };

	if (ioctl(m->vcpu, KVM_SET_VCPU_EVENTS, &events))
		return -errno;
	if (ioctl(m->vcpu, KVM_SET_SREGS, &sregs))
		return -errno;
	return ioctl(m->vcpu, KVM_SET_REGS, &regs) ? -errno : 0;
}

/* Run until an exit to us, or until the time is over; an ENDED_*. */
static uint32_t run(struct kvm_machine *m, uint32_t milliseconds, uint32_t *reason)
{
	struct kvm_run *run = m->run;
	int error;

	run->immediate_exit = 0;
	set_timer(m, milliseconds);
	do {
		error = ioctl(m->vcpu, KVM_RUN, 0) ? errno : 0;
	} while (error == EINTR && !run->immediate_exit);
	set_timer(m, 0);
	if (error == EINTR)
		return ENDED_TIMEOUT;
	*reason = error ? (uint32_t)error : run->exit_reason;
	if (error)
		return ENDED_OTHER;
	if (*reason == KVM_EXIT_HLT)
		return ENDED_HLT;
	if (*reason == KVM_EXIT_SHUTDOWN)
		return ENDED_SHUTDOWN;
	/* What we were to complete must not meet the next state: KVM completes it here, and runs
	 * nothing. */
	run->immediate_exit = 1;
	ioctl(m->vcpu, KVM_RUN, 0);
	return ENDED_OTHER;
}

/* Execute from state s on, for so many milliseconds at most. */
void machine_execute(struct kvm_machine *m, const struct kvm_state *s, uint32_t milliseconds,
		     struct kvm_ending *e)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	int error = set_registers(m, s);

	memset(e, 0, sizeof(*e));
	if (error) {
		e->how = ENDED_REFUSED;
		e->exit_reason = (uint32_t)-error;
		return;
	}
	e->how = run(m, milliseconds, &e->exit_reason);
	if (ioctl(m->vcpu, KVM_GET_REGS, &regs) || ioctl(m->vcpu, KVM_GET_SREGS, &sregs)) {
		e->how = ENDED_OTHER;
		e->exit_reason = (uint32_t)errno;
		return;
	}
	e->rip = regs.rip;
	e->rsp = regs.rsp;
	e->rax = regs.rax;
	e->cr2 = sregs.cr2;
}
