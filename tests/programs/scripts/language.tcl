# SPDX-License-Identifier: GPL-2.0-or-later
proc fib n { if {$n < 2} { return $n }; expr {[fib [expr {$n - 1}]] + [fib [expr {$n - 2}]]} }
puts [fib 12]; puts [lsort -integer {3 1 2}]; puts [string map {a A} banana]; puts [expr {2 ** 70}]
set f [open out.tcl w]; puts $f "line"; close $f; set f [open out.tcl]; puts [read $f]; close $f
puts [exec echo from a program | tr a-z A-Z]; puts [catch {error boom} message] ; puts $message
set d [dict create a 1 b 2]; dict for {k v} $d { puts "$k=$v" }; after 20 { set done 1 }; vwait done; puts $done
puts [lsort [glob *]]; puts [clock format 0 -gmt 1 -format %Y-%m-%d]; puts [regexp -inline {(\w)(\d)} "x a1"]
