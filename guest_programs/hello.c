// SPDX-License-Identifier: GPL-2.0-or-later
/* Greets whoever its arguments name, and tells what it costs. */
#include "guest.h"

int main(int argc, char **argv)
{
	printf("hello, %s\n", argc > 1 ? argv[1] : "world");
	print_vm("end");
	return 0;
}
