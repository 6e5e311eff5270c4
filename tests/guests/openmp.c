// SPDX-License-Identifier: GPL-2.0-or-later
/* OpenMP on four threads: a loop with a reduction, atomics, barriers, single, critical, tasks. */
#include <omp.h>
#include <stdio.h>

static long fib(int n)
{
	long a, b;

	if (n < 2)
		return n;
#pragma omp task shared(a) if (n > 8)
	a = fib(n - 1);
	b = fib(n - 2);
#pragma omp taskwait
	return a + b;
}

int main(void)
{
	double sum = 0;
	long count = 0, guarded = 0, result = 0;

	omp_set_num_threads(4);
#pragma omp parallel for reduction(+ : sum) schedule(dynamic, 100)
	for (int i = 0; i < 20000; i++)
		sum += i * 0.5;
#pragma omp parallel
	{
#pragma omp atomic
		count++;
#pragma omp barrier
#pragma omp single
		printf("threads %d, all counted: %ld\n", omp_get_num_threads(), count);
		for (int i = 0; i < 100; i++)
#pragma omp critical
			guarded++;
	}
#pragma omp parallel
#pragma omp single
	result = fib(12);
	printf("sum %.1f, guarded %ld, fib %ld\n", sum, guarded, result);
	return 0;
}
