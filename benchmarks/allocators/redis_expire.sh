# SPDX-License-Identifier: GPL-2.0-or-later
# A guest: redis-server takes KEYS keys, most of which expire, twice over; then it purges and idles.
# Usage: redis_expire.sh KEYS (of each size); what INFO says is printed after each step.
keys=$1
socket=/tmp/redis.sock

cli() {
	redis-cli -s $socket "$@"
}

say() {
	printf '%-16s ' "$1"
	grep -E 'VmRSS|VmPTE' /proc/$server/status | tr -s '\t \n' ' '
	echo
}

redis-server --port 0 --unixsocket $socket --save '' --appendonly no --enable-debug-command yes --logfile /dev/null &
server=$!
until [ -S $socket ]; do sleep 0.1; done
sleep 1
say start
for round in 1 2; do
	for size in 300 1000 3000 6000 10000 17000 40000; do
		cli DEBUG POPULATE $keys $round:$size $size >/dev/null
	done
	cli EVAL '
		for _, size in ipairs({300, 1000, 3000, 6000, 10000, 17000, 40000}) do
			for i = ARGV[1] / 50, ARGV[1] - 1 do
				redis.call("PEXPIRE", ARGV[2] .. ":" .. size .. ":" .. i, 2000 + i % 2000)
			end
		end' 0 $keys $round >/dev/null
	say "round $round filled"
	sleep 6
	say "round $round expired"
	cli MEMORY PURGE >/dev/null
	sleep 12
	say "round $round purged"
done
cli DBSIZE
cli FLUSHALL >/dev/null
sleep 12
say end
cli SHUTDOWN NOSAVE
wait
