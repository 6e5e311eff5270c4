/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A traced child of bare memory that executes one instruction after another natively. */
#ifndef UCMMU_INSTRUCTIONS_RUNNER_H
#define UCMMU_INSTRUCTIONS_RUNNER_H

#include <stdint.h>

/* cffi-begin */
#define NR_GPRS 16
#define FXSAVE_SIZE 512
#define CODE_SIZE 16
#define MEMORY_SIZE 0x6000 /* of data and stack together, at most */
#define MAX_STEPS 600	   /* elements of one REP, at most */

/* How an instruction ended. */
#define ENDED_DONE 0   /* it was executed: RIP is where the next one stands */
#define ENDED_SIGNAL 1 /* signo, code, address */
#define ENDED_LOOP 2   /* RIP has not moved in MAX_STEPS steps */
#define ENDED_DIED 3   /* the child is no more: a new one was made */

/* Where the child's memory lies, each a multiple of 4096. */
struct layout {
	uint64_t text, text_size; /* readable and executable */
	uint64_t data, data_size; /* readable, and writable but for the last read_only bytes */
	uint64_t read_only;
	uint64_t stack, stack_size; /* readable and writable */
};

/* What user mode sees of a processor; general registers in the order of their encoding. */
struct cpu_state {
	uint64_t gpr[NR_GPRS];
	uint64_t rip, rflags, fs_base, gs_base;
	uint64_t cs, ss, ds, es, fs, gs;
	uint8_t fx[FXSAVE_SIZE]; /* as FXSAVE64 writes it */
};

struct instruction {
	struct cpu_state before;
	uint8_t code[CODE_SIZE]; /* at before.rip, which is in the text */
	uint32_t length;
};

struct outcome {
	struct cpu_state after;
	uint32_t ended; /* ENDED_* */
	uint32_t signo;
	int32_t code;
	uint32_t steps;
	uint64_t address;
	uint32_t changed; /* first byte of data and stack, one after the other, that changed; */
	uint32_t changed_length;    /* ... how many from there on to the last, 0: none */
	uint8_t bytes[MEMORY_SIZE]; /* what the first of them became */
};

struct native;

/* A child with this memory; NULL and *stage is what failed, errno why. */
struct native *native_open(const struct layout *layout, const char **stage);
/* End the child and give all back. */
void native_close(struct native *n);
/* The host's views of text and, one after the other, data and stack, as every instruction finds
 * them. */
uint8_t *native_text(struct native *n);
uint8_t *native_memory(struct native *n);
/* Execute each of the instructions. Returns 0, or -errno when the child cannot be traced any more.
 */
int native_execute(struct native *n, const struct instruction *in, struct outcome *out,
		   uint32_t nr);
/* cffi-end */

#endif
