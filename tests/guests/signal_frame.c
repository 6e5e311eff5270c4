// SPDX-License-Identifier: GPL-2.0-or-later
/* Frames of signals, field by field: what each handler is told, and what comes back. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define XSTATE_FLAG 1UL /* UC_FP_XSTATE: the host's processor has XSAVE */

static volatile int seen;
static const char *stage;

static void on(int signo, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	if (sigaction(signo, &action, NULL))
		perror("sigaction");
}

static unsigned long flags_now(void)
{
	unsigned long flags;

	__asm__ volatile("pushf; pop %0" : "=r"(flags));
	return flags;
}

static void print_info(const siginfo_t *info)
{
	printf("%s: signo %d code %d errno %d addr %p\n", stage, info->si_signo, info->si_code,
	       info->si_errno, info->si_addr);
}

/* Registers of known values, then a store to address 0x1234 with DF set. */
extern char fault_at[], fault_end[];
static void fault_with_known_registers(uint64_t *after)
{
	static double marked[2] = { 1.5, -2.25 };
	uint32_t mxcsr = 0x5f80;
	uint16_t control = 0x27f;

	__asm__ volatile("ldmxcsr %[mxcsr]\n\tfldcw %[control]\n\t"
			 "movupd %[marked], %%xmm7\n\tfld1\n\t"
			 "mov %%rbp, %%r15\n\tmov %%rbx, %%r14\n\t"
			 "mov $0x11, %%rbx\n\tmov $0x22, %%rcx\n\tmov $0x33, %%rdx\n\t"
			 "mov $0x44, %%rsi\n\tmov $0x55, %%rdi\n\tmov $0x66, %%rbp\n\t"
			 "mov $0x88, %%r8\n\tmov $0x99, %%r9\n\tmov $0xaa, %%r10\n\t"
			 "mov $0xbb, %%r11\n\tmov $0xcc, %%r12\n\tmov $0x1234, %%r13\n\t"
			 "xor %%eax, %%eax\n\tstd\n\t"
			 ".globl fault_at\nfault_at:\n\tmov %%eax, (%%r13)\n"
			 ".globl fault_end\nfault_end:\n\t"
			 "cld\n\tmov %%r15, %%rbp\n\tmov %%r14, %%rbx\n\t"
			 : "=a"(after[0]), "=c"(after[1])
			 : [mxcsr] "m"(mxcsr), [control] "m"(control), [marked] "m"(marked)
			 : "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
			   "r15", "xmm7", "st", "memory", "cc");
	__asm__ volatile("movq %%xmm7, %0" : "=r"(after[2]));
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(control));
	__asm__ volatile("fistpl %0" : "=m"(after[4]));
	after[3] = mxcsr & 0xffc0;
	after[5] = control;
	mxcsr = 0x1f80;
	__asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

static void on_known(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *regs = uc->uc_mcontext.gregs;
	struct _libc_fpstate *fp = uc->uc_mcontext.fpregs;
	uintptr_t frame = (uintptr_t)uc - 8;
	uint16_t control;
	uint32_t mxcsr;
	double value;
	uint64_t top;

	__asm__ volatile("fnstcw %0" : "=m"(control));
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	__asm__ volatile("movq %%xmm7, %0" : "=r"(top));
	printf("handler: DF %lu, control %#x, mxcsr %#x, xmm7 %#lx\n", flags_now() >> 10 & 1,
	       control, mxcsr, top);
	print_info(info);
	printf("signo %d; frame %% 16 = %lu, info - uc = %ld\n", signo, frame % 16,
	       (char *)info - (char *)uc);
	printf("fpstate %% 64 = %lu, behind info %d, 128 below %d\n", (uintptr_t)fp % 64,
	       (char *)fp >= (char *)info + 128,
	       (uintptr_t)fp + 512 <= (uintptr_t)regs[REG_RSP] - 128);
	for (int i = REG_R8; i <= REG_CR2; i++)
		if (i != REG_RSP && i != REG_RIP && i != REG_R14 && i != REG_R15)
			printf("%d=%#llx ", i, regs[i]);
	printf("\nrip %d r14 r15 kept\n", regs[REG_RIP] == (greg_t)(uintptr_t)fault_at);
	printf("flags %#lx link %p stack %p %#x %zu\n", uc->uc_flags & ~XSTATE_FLAG,
	       (void *)uc->uc_link, uc->uc_stack.ss_sp, uc->uc_stack.ss_flags,
	       uc->uc_stack.ss_size);
	memcpy(&value, &fp->_xmm[7], sizeof(value));
	printf("frame: cw %#x mxcsr %#x xmm7 %g st0 exponent %#x sw %#x\n", fp->cwd,
	       fp->mxcsr & 0xffc0, value, fp->_st[0].exponent, fp->swd);
	regs[REG_RIP] = (greg_t)(uintptr_t)fault_end;
	regs[REG_RAX] = 0x777;
	regs[REG_RCX] = seen++;
	value = 42.5;
	memcpy(&fp->_xmm[7], &value, sizeof(value));
}

static void known_registers(void)
{
	uint64_t after[6] = { 0 };
	double value;

	stage = "known";
	on(SIGSEGV, on_known, 0);
	fault_with_known_registers(after);
	memcpy(&value, &after[2], sizeof(value));
	printf("after: rax %#lx rcx %lu xmm7 %g mxcsr %#lx st0 %lu control %#lx\n", after[0],
	       after[1], value, after[3], after[4] & 0xffffffff, after[5]);
}

/* Each kind of fault: code, address, error code, trap number. */
static sigjmp_buf back;
static char *page;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	int has_address = info->si_code > 0 && info->si_code != SI_KERNEL;

	printf("%s: signo %d code %d addr %s err %#llx trap %lld cr2 %s\n", stage, signo,
	       info->si_code,
	       !has_address				? "none"
	       : info->si_addr == (void *)regs[REG_RIP] ? "rip"
							: "other",
	       regs[REG_ERR], regs[REG_TRAPNO],
	       regs[REG_CR2] == (greg_t)(uintptr_t)info->si_addr ? "addr" : "other");
	printf("  flags %#llx\n", regs[REG_EFL] & ~0x8d5ULL);
	siglongjmp(back, 1);
}

#define TRY(name, code)                      \
	do {                                 \
		stage = name;                \
		if (!sigsetjmp(back, 1)) {   \
			code;                \
			puts(name ": none"); \
		}                            \
	} while (0)

static void each_fault(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	volatile char *noncanonical = (char *)0x8000000000000000;
	volatile char *kernel = (char *)0xffff888000000000;
	volatile unsigned int zero = 0;
	int file = open("/proc/self/exe", O_RDONLY);
	off_t size = lseek(file, 0, SEEK_END);
	char *past;

	static char stack[32768];
	stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };

	sigaltstack(&other, NULL);
	for (unsigned int i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		on(signals[i], on_fault, SA_ONSTACK);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRY("read nothing", *(volatile char *)16);
	TRY("write nothing", *(volatile char *)16 = 1);
	TRY("jump nowhere", ((void (*)(void))16)());
	page[0] = (char)0xc3;
	TRY("jump to data", ((void (*)(void))(uintptr_t)page)());
	mprotect(page, 4096, PROT_READ);
	TRY("write read-only", *(volatile char *)page = 1);
	mprotect(page, 4096, PROT_NONE);
	TRY("read none", *(volatile char *)page);
	TRY("kernel read", *kernel);
	TRY("kernel write", *kernel = 1);
	TRY("noncanonical", *noncanonical);
	TRY("noncanonical stack",
	    __asm__ volatile(
		    "mov %%rsp, %%rcx; mov %0, %%rsp; push %%rax; mov %%rcx, %%rsp" : : "r"(
			    noncanonical) : "rcx",
		    "memory"));
	TRY("div",
	    __asm__ volatile("xor %%edx, %%edx; mov $1, %%eax; divl %0" : : "m"(zero) : "eax",
			     "edx"));
	TRY("ud2", __asm__ volatile("ud2"));
	TRY("hlt", __asm__ volatile("hlt"));
	TRY("int3", __asm__ volatile("int3"));
	TRY("int 4", __asm__ volatile(".byte 0xcd, 4"));
	TRY("int 0x21", __asm__ volatile("int $0x21"));
	TRY("icebp", __asm__ volatile(".byte 0xf1"));
	TRY("step", __asm__ volatile("pushf; orl $0x100, (%%rsp); popf; nop; nop" : : : "cc"));
	TRY("x87", __asm__ volatile("fninit; fldcw %0; fldz; fld1; fdivp; fwait" : : "m"(
			   (const uint16_t){ 0x340 })));
	__asm__ volatile("fninit");
	size = (size + 4095) & -4096;
	past = mmap(NULL, (size_t)size + 4096, PROT_READ, MAP_PRIVATE, file, 0);
	TRY("past the end", *(volatile char *)(past + size));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc > 1 && !strcmp(argv[1], "faults"))
		each_fault();
	else
		known_registers();
	return 0;
}
