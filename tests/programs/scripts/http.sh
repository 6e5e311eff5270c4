# SPDX-License-Identifier: GPL-2.0-or-later
port=$((20000 + $$ % 10000))
python3 -m http.server --bind 127.0.0.1 $port --directory served >/dev/null 2>&1 &
server=$!
for i in $(seq 100); do curl -s http://127.0.0.1:$port/ >/dev/null && break; sleep 0.3; done
curl -s http://127.0.0.1:$port/file; curl -s -o /dev/null -w '%{http_code} %{size_download}\n' http://localhost:$port/none
curl -s -I http://127.0.0.1:$port/file | grep -i content-length; kill $server; wait $server; echo "server $?"
