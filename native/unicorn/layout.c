/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Both C modules must have been built with the same structs. */
#include "unicorn/vcpu.h"

const char *layout_mismatch(const struct layout *native)
{
	if (native->memory_size != sizeof(struct memory) ||
	    native->memory_ring != offsetof(struct memory, ring))
		return "struct memory";
	if (native->unit_size != sizeof(struct mmu_unit) ||
	    native->unit_tlb != offsetof(struct mmu_unit, tlb))
		return "struct mmu_unit";
	if (native->ring_size != sizeof(struct event_ring) ||
	    native->ring_arg != offsetof(struct event_ring, arg))
		return "struct event_ring";
	if (native->mm_size != sizeof(struct mm_struct) ||
	    native->mm_vmas != offsetof(struct mm_struct, vmas))
		return "struct mm_struct";
	if (native->cpu_size != sizeof(struct cpu) ||
	    native->cpu_code_written != offsetof(struct cpu, code_written))
		return "struct cpu";
	if (native->kernel_size != sizeof(struct kernel) ||
	    native->kernel_cpu != offsetof(struct kernel, cpu))
		return "struct kernel";
	if (native->translation_size != sizeof(struct translation) ||
	    native->translation_error_code != offsetof(struct translation, error_code))
		return "struct translation";
	return NULL;
}
