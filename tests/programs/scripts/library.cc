// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdexcept>
#include <string>
struct Local { ~Local(); };
extern int destroyed;
Local::~Local() { destroyed++; }
void thrower(int depth) { Local local; if (!depth) throw std::runtime_error("from the library"); thrower(depth - 1); }
