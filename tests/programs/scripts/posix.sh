# SPDX-License-Identifier: GPL-2.0-or-later
# What every shell does: for busybox sh, dash and bash alike.
set -u
for i in 1 2 3; do echo "$i"; done | sort -r | while read -r line; do echo "line $line"; done
cat <<END
here $((6 * 7)) $(echo nested "$(echo deeper)")
END
cat <<'END'
not $expanded
END
add() { local sum; sum=$(($1 + $2)); echo "$sum"; return 3; }
add 2 3
echo "status $?"
i=0
while [ "$i" -lt 10 ]; do
	i=$((i + 1))
	[ "$i" = 3 ] && continue
	[ "$i" = 6 ] && break
	echo "turn $i"
done
case "file.tar.gz" in *.zip) echo zip ;; *.gz) echo gz ;; esac
(cd / && pwd; exit 7)
echo "subshell $?"
name=/usr/share/doc/file.txt
echo "${name##*/} ${name%/*} ${name%.txt}.md ${#name} ${missing:-default}"
echo one two three >words
read -r first rest <words
echo "$first, $rest"
exec 3>third; echo through three >&3; exec 3>&-
cat third
echo error >&2 2>errors; cat errors
{ echo grouped; echo output; } >group; wc -l <group
trap 'echo "trapped TERM"' TERM
kill -TERM $$
trap 'echo "at exit"' EXIT
sleep 0.05 &
wait $!
echo "waited $?"
sh -c 'exit 9' &
wait $!
echo "child $?"
false | true; echo "pipe $?"
true && echo and || echo or
for f in *; do echo "file $f"; done
set -- a "b c" d
echo "$# $2"; shift; echo "$*"
IFS=:; for part in $(echo x:y:z); do echo "part $part"; done; unset IFS
umask 027; : >private; ls -l private | cut -c1-10
ln -s words soft; readlink soft; [ -L soft ] && echo link; [ -d / ] && echo directory
mkdir -p a/b/c && echo deep >a/b/c/file && find a | sort
rm -r a; [ -e a ] || echo removed
yes | head -n 2
echo "done" | tr a-z A-Z | sed 's/ONE/two/' | cut -c1-3
test "$(printf '%03d|%-5s|%x' 7 ab 255)" = '007|ab   |ff' && echo printf
export GIVEN=value; sh -c 'echo "$GIVEN"'
eval 'echo eval $((1+1))'
exit 5
