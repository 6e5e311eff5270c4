#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What only bash does.
declare -A map=([one]=1 [two]=2); for key in one two; do echo "$key=${map[$key]}"; done
array=(a b c); array+=(d); echo "${array[@]:1:2} ${#array[@]}"
[[ abc123 =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
echo {1..5} {a,b}{x,y} $'tab\there' "${var:=set}" "${array[0]^^}"
diff <(printf '1\n2\n') <(printf '1\n3\n')
cat <<<"here string"
coproc UP { while read -r line; do echo "up $line"; done; }
echo talk >&"${UP[1]}"; read -r answer <&"${UP[0]}"; echo "$answer"
kill "$UP_PID"; wait "$UP_PID" 2>/dev/null; echo "coproc $?"
set -o pipefail; false | true; echo "pipefail $?"
mapfile -t lines < <(seq 3); echo "${lines[2]}"
printf -v text '%q' 'a b$c'; echo "$text"
time_of() { local start=$SECONDS; echo $((SECONDS - start)); }; time_of
( set -m; sleep 30 & jobs %1 | sed 's/  */ /g'; kill -STOP %1; sleep 0.1; jobs %1 | sed 's/  */ /g'; kill %1; kill -CONT %1; wait %1; echo "job $?" )
for ((i = 0; i < 3; i++)); do printf '%d ' "$i"; done; echo
trap 'echo "ERR $?"' ERR; false; trap - ERR
read -r -t 0.05 nothing < <(sleep 1); echo "timed out $(($? > 128))"
select word in x y; do echo "chosen $word"; break; done <<<2 2>/dev/null
shopt -s extglob globstar
mkdir -p d/e; touch d/e/f.c d/g.c; echo **/*.c; echo d/!(e)
exec {fd}>out; echo text >&"$fd"; exec {fd}>&-; cat out
printf '%(%Y-%m-%d)T\n' 86400
echo "$((16#ff + 2#101 + 2**10))"
