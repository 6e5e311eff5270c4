// SPDX-License-Identifier: GPL-2.0-or-later
#include <iostream>
#include <map>
#include <stdexcept>
#include <thread>
#include <vector>
#include <dlfcn.h>
int destroyed;
void thrower(int);
int main() {
    try { thrower(5); } catch (const std::exception &error) { std::cout << error.what() << " " << destroyed << "\n"; }
    try { std::vector<int>().at(3); } catch (const std::out_of_range &error) { std::cout << "range\n"; }
    try { try { thrower(0); } catch (...) { throw; } } catch (std::runtime_error &) { std::cout << "again\n"; }
    std::exception_ptr kept; std::thread other([&] { try { thrower(1); } catch (...) { kept = std::current_exception(); } });
    other.join(); try { std::rethrow_exception(kept); } catch (std::exception &error) { std::cout << error.what() << "\n"; }
    std::map<std::string, int> map; for (int i = 0; i < 1000; i++) map[std::to_string(i * 7 % 1000)] = i;
    long sum = 0; for (auto &[key, value] : map) sum += key.size() * value; std::cout << sum << std::endl;
    std::cout << (dlopen("libnothing.so", RTLD_NOW) == nullptr) << std::endl;
}
