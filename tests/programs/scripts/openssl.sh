# SPDX-License-Identifier: GPL-2.0-or-later
set -e
openssl dgst -sha256 /usr/share/common-licenses/GPL-2; openssl dgst -md5 </usr/share/common-licenses/GPL-3
openssl enc -aes-256-cbc -pbkdf2 -nosalt -pass pass:word -in /usr/share/common-licenses/GPL-2 -out cipher
openssl enc -d -aes-256-cbc -pbkdf2 -nosalt -pass pass:word -in cipher | cmp - /usr/share/common-licenses/GPL-2
openssl genpkey -algorithm ed25519 -out key 2>/dev/null; openssl pkey -in key -pubout -out public
echo message >message; openssl pkeyutl -sign -inkey key -rawin -in message -out signature
openssl pkeyutl -verify -pubin -inkey public -rawin -in message -sigfile signature
openssl prime 1000003; openssl rand -hex 8 | wc -c; rm key public signature
curl -s file:///usr/share/common-licenses/BSD | md5sum; curl -s file:///nowhere || echo "curl $?"
