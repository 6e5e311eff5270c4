-- SPDX-License-Identifier: GPL-2.0-or-later
local t = {}
for i = 1, 1000 do t[#t + 1] = (i * 7919) % 1009 end
table.sort(t)
print(t[1], t[1000], #t, 7 // 2, 7 / 2, 2^53, string.format("%5.2f %q", 3.14159, "a\nb"))
local co = coroutine.wrap(function(a) for i = 1, 3 do a = coroutine.yield(a * i) end end)
print(co(2), co(3), co(4))
local f = io.open("out.lua", "w"); f:write("line 1\nline 2\n"); f:close()
for line in io.lines("out.lua") do print(line) end
print(pcall(error, {code = 1}), select("#", nil, nil), os.getenv("LANG"), os.rename("none", "x"))
local p = io.popen("echo from a shell"); print(p:read("a")); p:close()
print(string.gsub("hello world", "o", "0"), ("x"):rep(3, "-"), os.execute("exit 3"))
