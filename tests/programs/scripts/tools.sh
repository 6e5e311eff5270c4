# SPDX-License-Identifier: GPL-2.0-or-later
# grep, sed, awk, find, diff and the compressors.
export LC_ALL=C
licence=/usr/share/common-licenses/GPL-2
grep -c free $licence; grep -noE 'free[a-z]+' $licence | head -n 3; grep -rl 'END OF TERMS' /usr/share/common-licenses/GPL-2; grep -P '(?<=GNU )General' -o $licence | head -n 1; grep -vxF '' $licence | wc -l
sed -n '1,3p;s/GNU/gnu/gp' $licence | head -n 5; sed -E 's/([a-z]+) ([a-z]+)/\2 \1/' $licence | md5sum; printf 'a\nb\nc\n' >lines; sed -i.bak '2d;$a end' lines; cat lines lines.bak; sed '/a/,/c/{s/./X/;}' lines
for awk in mawk gawk busybox\ awk; do
	$awk '{ for (i = 1; i <= NF; i++) count[$i]++ } END { print length(count), count["the"], count["free"] }' $licence
	$awk 'BEGIN { printf "%d %.3f %s\n", 3.9, exp(1), substr("hello", 2, 3); print toupper("x"), index("abc", "c"), 2 ^ 10, sprintf("%05d", 42) }'
	echo 'a:b:c' | $awk -F: -v OFS=- '{ $1 = $1; print; "echo from a command" | getline line; print line; print "sorted" | "sort" }'
	$awk 'function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) } BEGIN { print f(15) }'
done
mkdir -p tree/a/b tree/c; touch tree/a/one.c tree/a/b/two.h tree/c/three.c; find tree -name '*.c' -printf '%p %d\n' | sort; find tree -type f -exec basename {} \; | sort; find tree -name '*.h' -delete; find tree -depth | sort
find tree -type f -print0 | xargs -0 -n1 -P2 echo | sort; printf 'a\nb\nd\n' >x; printf 'a\nc\nd\n' >y; diff -u --label x --label y x y; diff -q x y; cmp x y; diff3 x y lines; printf '%s\n' '--- x' '+++ x' '@@ -1,3 +1,3 @@' ' a' '-b' '+c' ' d' | patch -s x; cat x
for tool in gzip bzip2 xz zstd; do $tool -k -q -c $licence >out.$tool; $tool -dc out.$tool | cmp - $licence && echo $tool; done; gzip -l out.gzip >/dev/null; echo "list $?"
cp $licence text; xz -9 text; xz -t text.xz && echo tested; unxz text.xz; gzip -9n text; zcat text.gz | md5sum; rm text.gz out.*
tar -cf archive.tar --sort=name --mtime=@0 --owner=0 --group=0 tree; tar -tvf archive.tar --full-time -z 2>/dev/null; tar -tf archive.tar; md5sum archive.tar; mkdir out; tar -C out -xf archive.tar; diff -r tree out/tree && echo extracted; tar -czf a.tgz tree && tar -xzOf a.tgz tree/a/one.c; rm a.tgz
echo tree/a/one.c | cpio -o -H newc --quiet 2>/dev/null | head -c 6; echo; file -b /bin/true 2>/dev/null | cut -c1-3; bc <<<'scale=20; 4*a(1)' -l 2>/dev/null; echo '[3,1,2]' | jq -c 'sort|map(.*2)'; echo '{"a":{"b":[1,null]}}' | jq -r '.a.b|length'; hexdump -C x | head -n 1; strings /bin/true | head -n 1; column -t fruit 2>/dev/null
xargs -a lines -I{} echo '<{}>'; ps -p $$ -o comm= 2>/dev/null; uptime >/dev/null && echo uptime; free -b >/dev/null && echo free; pgrep -x no-such-program; echo "pgrep $?"; getconf PAGESIZE; locale charmap; iconv -f latin1 -t utf8 /usr/share/common-licenses/BSD | md5sum; ldd /bin/true | wc -l; readelf -h /bin/true | grep Class; nm -D /bin/true 2>/dev/null | wc -l
