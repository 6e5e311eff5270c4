# SPDX-License-Identifier: GPL-2.0-or-later
use strict; use warnings; use File::Temp qw(tempdir); use List::Util qw(sum shuffle); use POSIX ();
my %count; $count{$_ % 7} += $_ for 1 .. 1000; print "$_ => $count{$_}\n" for sort keys %count;
(my $text = "The quick brown fox") =~ s/(\w+)/length($1)/ge; print "$text\n";
open(my $out, '>', 'out.perl') or die; print $out "record $_\n" for 1 .. 100; close $out;
open(my $in, '<', 'out.perl') or die; my @lines = <$in>; print scalar(@lines), " $lines[-1]";
pipe(my $r, my $w); my $pid = fork(); if (!$pid) { close $r; print $w "child speaks\n"; exit 3 }
close $w; print <$r>; waitpid($pid, 0); print $? >> 8, "\n";
$SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select(undef, undef, undef, 5) }; print $@;
print POSIX::strftime("%Y-%m-%d", gmtime(86400 * 365)), " ", sum(1 .. 10), " ", sprintf("%.3e", 12345.678), "\n";
mkdir 'dir.perl' or die; opendir(my $d, '.') or die; print join(',', sort grep { !/^\./ } readdir $d), "\n";
print join(' ', map { sprintf '%b', $_ } 1 .. 5), " ", `printf shell`, "\n"; local $@; eval { die { code => 4 } }; print $@->{code}, "\n";
