// SPDX-License-Identifier: GPL-2.0-or-later
#include <math.h>
#include <stdio.h>
#include "sum.h"
int main(void) { printf("%d %.6f\n", sum(100), sqrt(2)); return 0; }
