# SPDX-License-Identifier: GPL-2.0-or-later
# Each program of coreutils that says the same twice.
export LC_ALL=C
seq 1 20 >numbers; printf 'pear 3\napple 1\nfig 2\napple 1\n' >fruit
echo "arch $(arch)"; base64 fruit; base32 fruit | base32 -d | head -n1; basename /a/b.c .c; basenc --base16 fruit | head -c 8; echo
cat -A fruit | head -n 1; chmod 640 fruit; stat -c '%a %s %F %h' fruit; cksum fruit; comm -12 numbers numbers | wc -l
cp -a fruit copy; cp --sparse=always numbers holes; cmp fruit copy && echo equal; csplit -q numbers 5 10 && ls xx*; cut -d' ' -f2 fruit
date -u -d '2024-02-29 12:00' +%j; dd if=numbers of=part bs=4 skip=1 count=3 conv=notrunc 2>/dev/null; od -c part; dirname /a/b/c; dircolors -b | head -c 9; echo
echo -e 'a\tb' | expand -t 4; env -i A=1 env; expr 6 '*' 7; factor 1234567890; false || echo false; fmt -w 20 /usr/share/common-licenses/BSD | head -n 5
fold -w 10 fruit | head -n 3; groups >/dev/null && echo groups; head -c 5 numbers; echo; id -u >/dev/null && echo id
install -m 711 fruit installed && stat -c %a installed; join fruit fruit 2>/dev/null | head -n 1; ln fruit hard; stat -c %h fruit; ln -sr fruit soft; link fruit linked
ls -1 --sort=name | head -n 4; ls -l --time-style=+%Y fruit | cut -d' ' -f1; md5sum fruit; b2sum fruit | cut -c1-16; mkdir -m 700 -p d/e; stat -c %A d; mkfifo "/tmp/fifo.$$"; stat -c %F "/tmp/fifo.$$"; rm "/tmp/fifo.$$"
mktemp -u xXXXX | wc -c; mv hard moved; nl fruit | head -n 2; nice -n 5 nice; nohup echo nohup 2>/dev/null; nproc >/dev/null && echo nproc; numfmt --to=iec 123456789; od -An -tx2 -N8 numbers
paste -d, numbers numbers | head -n 2; pathchk -p fruit && echo path; pr -l 20 -h title -D date fruit | head -n 8; printenv PATH >/dev/null && echo printenv; ptx fruit | head -n 2; pwd >/dev/null
readlink -f soft | xargs basename; realpath --relative-to=/usr /usr/bin/env >/dev/null && echo realpath; rm linked; rmdir d/e; seq -s, 0 0.5 2; sha1sum fruit; sha224sum fruit | cut -c1-8; sha256sum fruit; sha384sum fruit | cut -c1-8; sha512sum fruit | cut -c1-8
shred -n 1 -u copy; test -e copy || echo shredded; shuf --random-source=numbers -e a b c d e | sort | tr -d '\n'; echo; sleep 0.01; sort -k2 -n fruit | uniq -c; sort -R --random-source=numbers numbers | wc -l; sort -V -r numbers | head -n 1
split -l 7 numbers s_; ls s_*; stat -f -c %l . >/dev/null && echo statfs; stdbuf -oL echo stdbuf; sum fruit; sync fruit && echo sync; tac numbers | head -n 1; tail -n 2 numbers; tail -c +45 numbers; tee t1 t2 <fruit >/dev/null; cmp t1 t2 && echo tee
test 1 -lt 2 && echo less; timeout 0.05 sleep 5; echo "timeout $?"; touch -d '2020-01-02 03:04:05' -m old; stat -c %Y old; tr -s a-c x <fruit | head -n 1; true && echo true; truncate -s 5 numbers; wc numbers; echo 'a b b c' | tr ' ' '\n' | tsort | head -n 1; tty; uname -sm; unexpand -a <fruit | head -n 1; uniq -d fruit
unlink soft; wc -lwc fruit; who | wc -l; yes n | head -n 1; [ a = a ] && echo bracket; vdir fruit | cut -c1-10; runcon 2>/dev/null; echo "runcon $?"; du -b --apparent-size fruit; df --output=target . | head -n 1; chown "$(id -u)" fruit && echo chown; chgrp "$(id -g)" fruit && echo chgrp
