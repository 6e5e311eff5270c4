# SPDX-License-Identifier: GPL-2.0-or-later
require 'json'; require 'set'; require 'digest'; require 'tempfile'
puts JSON.generate({ 'a' => [1, 2.5, nil], 'b' => { 'c' => true } }), (1..20).each_slice(6).map(&:sum).inspect
puts Digest::SHA256.hexdigest('abc'), 2**100, 'straße'.upcase, [3, 1, 2].sort_by { |x| -x }.inspect
threads = 4.times.map { |i| Thread.new { (1..100).sum * i } }; puts threads.map(&:value).inspect
File.write('out.ruby', "a\nb\n"); puts File.readlines('out.ruby').inspect, Dir.children('.').sort.inspect
pid = fork { exit 5 }; Process.wait(pid); puts $?.exitstatus, `echo shell`
q = Queue.new; t = Thread.new { 3.times { |i| q << i } ; q << nil }; while (x = q.pop) do puts x end
f = Fiber.new { Fiber.yield 1; 2 }; puts f.resume, f.resume; GC.start; puts ObjectSpace.count_objects[:TOTAL] > 1000
begin; Integer('x'); rescue ArgumentError => e; puts e.message; end
