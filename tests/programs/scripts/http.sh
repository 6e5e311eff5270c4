# SPDX-License-Identifier: GPL-2.0-or-later
python3 -m http.server --bind 127.0.0.1 8765 --directory served >/dev/null 2>&1 &
server=$!
for i in 1 2 3 4 5 6 7 8 9 10; do curl -s http://127.0.0.1:8765/ >/dev/null && break; sleep 0.3; done
curl -s http://127.0.0.1:8765/file; curl -s -o /dev/null -w '%{http_code} %{size_download}\n' http://localhost:8765/none
curl -s -I http://127.0.0.1:8765/file | grep -i content-length; kill $server; wait $server; echo "server $?"
