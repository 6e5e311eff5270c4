/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One virtual machine with one vCPU that executes a few instructions, and tells how they ended. */
#ifndef UCMMU_KVM_RUNNER_H
#define UCMMU_KVM_RUNNER_H

#include <stdint.h>

/* cffi-begin */
/* How a run ended. */
#define ENDED_HLT 0	 /* HLT at CPL 0: of the code, or of an exception's handler */
#define ENDED_SHUTDOWN 1 /* triple fault */
#define ENDED_TIMEOUT 2	 /* still running when its time was over */
#define ENDED_OTHER 3	 /* another exit: exit_reason says which */
#define ENDED_REFUSED 4	 /* KVM_SET_SREGS or KVM_SET_REGS says EINVAL */

/* A virtual machine; RAM lies at guest-physical 0. */
struct kvm_machine {
	int kvm, vm, vcpu;
	uint32_t run_size;
	void *run;   /* struct kvm_run */
	void *timer; /* timer_t */
	uint8_t *ram;
	uint64_t ram_size;
};

/* The processor when it begins. */
struct kvm_state {
	uint64_t cr0, cr3, cr4, efer;
	uint64_t rip, rsp, rflags;
	uint64_t rax, rcx, rdx, rsi;
	uint64_t gdt_base, ldt_base, idt_base, tss_base;
	uint32_t cpl;
};

/* How it ended. */
struct kvm_ending {
	uint32_t how;	      /* ENDED_* */
	uint32_t exit_reason; /* KVM_EXIT_*, or errno */
	uint64_t rip, rsp, rax, cr2;
};

/* One leaf of CPUID, as KVM tells it. */
struct kvm_cpuid_leaf {
	uint32_t function, index, flags, eax, ebx, ecx, edx;
};

int machine_open(struct kvm_machine *m, uint64_t ram_size, const char **stage);
void machine_close(struct kvm_machine *m);
int machine_forget(struct kvm_machine *m);
int machine_extension(struct kvm_machine *m, uint32_t cap);
int machine_supported_cpuid(struct kvm_machine *m, struct kvm_cpuid_leaf *leaves, uint32_t room);
int machine_set_cpuid(struct kvm_machine *m, const struct kvm_cpuid_leaf *leaves, uint32_t nr);
void machine_execute(struct kvm_machine *m, const struct kvm_state *s, uint32_t milliseconds,
		     struct kvm_ending *e);
/* cffi-end */

#endif
