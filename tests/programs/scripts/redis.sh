# SPDX-License-Identifier: GPL-2.0-or-later
port=$((20000 + $$ % 10000))
redis-server --port $port --save '' --appendonly no --daemonize no --dir . --logfile log >/dev/null &
server=$!
cli() { redis-cli -p $port "$@"; }
for i in $(seq 100); do [ "$(cli ping 2>/dev/null)" = PONG ] && break; sleep 0.2; done
cli set key value; cli get key; cli incrby number 41; cli incr number; cli rpush list a b c
cli lrange list 0 -1; cli hset hash f 1 g 2; cli hgetall hash; cli sadd set x y; cli scard set
printf 'setex short 1 gone\nttl short\n' | cli; sleep 1.2; cli exists short; cli zadd z 2 b 1 a; cli zrange z 0 -1
cli debug jmap 2>/dev/null >/dev/null; cli eval 'return {1,2,ARGV[1]}' 0 three; cli append key more; cli strlen key
i=0; while [ $i -lt 200 ]; do echo "set k$i $i"; i=$((i + 1)); done | cli | sort | uniq -c
cli dbsize; cli memory purge; cli save; cli flushall; cli dbsize; cli info server | grep -c redis_version
cli shutdown nosave; wait $server; echo "server $?"; ls dump.rdb; head -c 5 dump.rdb; echo
