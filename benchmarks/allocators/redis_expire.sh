# SPDX-License-Identifier: GPL-2.0-or-later
# A guest: redis-server takes KEYS keys, most of which expire, twice over; then it purges and idles.
# Usage: redis_expire.sh KEYS; what INFO says is printed after each step.
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

redis-server --port 0 --unixsocket $socket --save '' --appendonly no --logfile /dev/null &
server=$!
until [ -S $socket ]; do sleep 0.1; done
sleep 1
say start
for round in 1 2; do
	cli EVAL '
		local most = string.rep(string.rep("v", 100), 121)
		for i = 1, tonumber(ARGV[1]) do
			local value = most:sub(1, 100 + i * 37 % 12000)
			if i <= ARGV[1] / 50 then
				redis.call("SET", ARGV[2] .. ":kept:" .. i, value)
			else
				redis.call("SET", ARGV[2] .. ":" .. i, value, "PX", 2000 + i % 2000)
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
