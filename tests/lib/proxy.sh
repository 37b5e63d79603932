#!/bin/sh
# SPDX-License-Identifier: MIT
# The test proxy itself: what it counts, delays and breaks, against a small
# server whose answers are known.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_program python3 curl

cat >"$work/server.py" <<'PY'
# GET /N: N bytes of "x".  PUT: remembers the body; GET /last shows what
# arrived.  HEAD /N: the length.
import http.server, sys
last = b"nothing"
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def answer(self, body, head=False):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"abc"')
        self.end_headers()
        if not head:
            self.wfile.write(body)
    def do_GET(self):
        path = self.path.split("?")[0]
        self.answer(last if path == "/last" else b"x" * int(path[1:]))
    def do_HEAD(self):
        self.answer(b"x" * int(self.path[1:]), True)
    def do_PUT(self):
        global last
        n = int(self.headers["Content-Length"])
        body = self.rfile.read(n)
        if len(body) == n:
            last = body
        self.answer(b"")
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
s.daemon_threads = True
print(s.server_port, flush=True)
s.serve_forever()
PY
mkfifo "$work/port"
python3 "$work/server.py" >"$work/port" 2>"$work/server.log" &
test_pids="$test_pids $!"
read -r port <"$work/port"
start_proxy p "127.0.0.1:$port"
url=http://127.0.0.1:$proxy_port
direct=http://127.0.0.1:$port

get()
{
	curl -sS -m 20 "$@" 2>"$work/curl.err"
}

# size_of CURL-ARGUMENT…: bytes received, "fails" added when curl failed.
size_of()
{
	rc=
	get "$@" >"$work/out" || rc=" fails"
	echo "$(stat -c %s "$work/out")$rc"
}

elapsed_ms()
{
	t=$(date +%s%N)
	"$@" >/dev/null
	echo $((($(date +%s%N) - t) / 1000000))
}

# Passing through, keep-alive, counting.
same "plain" "$(get "$url/1000" | wc -c)" 1000
get -T "$srcdir/tests/lib/proxy.c" "$url/put"
get "$direct/last" | cmp - "$srcdir/tests/lib/proxy.c" || fail "PUT"
same "keep-alive" "$(size_of "$url/5" "$url/6" "$url/7")" 18
same "HEAD" "$(get -I "$url/7" | tr -d '\r' | sed -n 's/^Content-Length: //p')" 7
get "$url/1?list-type=2&prefix=" >/dev/null
get -X PUT -H 'x-amz-copy-source: /a' -d '' "$url/c" >/dev/null
get -T - "$url/p?partNumber=1&uploadId=2" </dev/null >/dev/null || :
same "GETs" "$(proxy_count p GET)" 4
same "LISTs" "$(proxy_count p LIST)" 1
same "COPYs" "$(proxy_count p COPY)" 1
same "PARTs" "$(proxy_count p PART)" 1
same "HEADs" "$(proxy_count p HEAD)" 1
proxy_do p reset
same "counts after reset" "$(proxy_do p count | tail -n 1)" "total 0"
same "nothing stays open" "$(wait_until 10 conns eval '
	[ "$(proxy_do p conns)" = 0 ]' && proxy_do p conns)" 0

# Faults on the reply.
proxy_do p fault match=GET cut=100
same "cut" "$(size_of "$url/1000")" "100 fails"
same "only once" "$(size_of "$url/1000")" 1000
proxy_do p fault truncate=10
same "truncate" "$(size_of "$url/1000")" 990
proxy_do p fault corrupt=3
same "corrupt" "$(get "$url/6")" xxxyxx
proxy_do p fault length=5
same "length" "$(size_of "$url/1000")" "1000 fails"
proxy_do p fault 'header=ETag: "other"'
get -I "$url/1" | grep -q '"other"' || fail "header"
printf 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc' >"$work/canned"
proxy_do p fault n=2 path=7 "canned=$work/canned"
same "canned passes others" "$(get "$url/1")" x
same "canned" "$(get "$url/7")$(get "$url/77")" abcabc
proxy_do p fault match=HEAD skip=1 status=503
same "skip" "$(get -o /dev/null -w '%{http_code}' -I "$url/1")" 200
same "status of HEAD" "$(get -o /dev/null -w '%{http_code}' -I "$url/1")" 503
proxy_do p fault n=all status=404
get "$url/1" | grep -q '<Code>NoSuchKey</Code>' || fail "status"
same "status again" "$(get -o "$work/out" -w '%{http_code}' "$url/1")" 404
proxy_do p clear
proxy_do p fault n=all every=3 status=404
same "each third" "$(get -o /dev/null -w '%{http_code} ' "$url/1" -o /dev/null \
	"$url/1" -o /dev/null "$url/1" -o /dev/null "$url/1" -o /dev/null \
	"$url/1" -o /dev/null "$url/1")" "200 200 404 200 200 404 "
proxy_do p clear
same "clear" "$(get "$url/1")" x
proxy_do p fault stall=300
ms=$(elapsed_ms get "$url/1")
[ "$ms" -ge 300 ] || fail "stall took $ms ms"

# Faults on the request; "drop" and "late" arrive, the others do not.
put()
{
	get -X PUT --data-binary "$1" "$url/put"
}
put first
proxy_do p fault match=PUT reset
put second && fail "reset"
proxy_do p fault match=PUT status=503
put second >/dev/null
proxy_do p fault match=PUT cut-request=2
put second && fail "cut-request"
same "not delivered" "$(get "$direct/last")" first
proxy_do p fault match=PUT drop
put third && fail "drop"
same "delivered, reply dropped" "$(get "$direct/last")" third
proxy_do p fault match=PUT corrupt-request=0
put aaaa
same "corrupt-request" "$(get "$direct/last")" '`aaa'
proxy_do p fault match=PUT late=3000
put ghost && fail "late"
put newer
# (Before the other one arrives, on a busy machine too.)
same "not yet there" "$(get "$direct/last")" newer
wait_until 10 "the late PUT" eval '[ "$(get "$direct/last")" = ghost ]'
same "hits" "$(proxy_do p hits)" 19
if proxy_do p fault nonsense >/dev/null; then
	fail "an unknown fault was taken"
fi

# The server goes and comes.
proxy_do p down
get "$url/1" && fail "down"
proxy_do p up
same "up" "$(get "$url/1")" x
proxy_do p pause
get -m 0.3 "$url/1" && fail "pause"
proxy_do p resume
same "resume" "$(get "$url/1")" x

# Delay is a round trip and costs no throughput; the handshake has one too.
proxy_do p delay 200
ms=$(elapsed_ms get "$url/1")
[ "$ms" -ge 400 ] || fail "two round trips of 200 ms took $ms ms"
ms=$(elapsed_ms get "$url/50000000")
[ "$ms" -lt 10000 ] || fail "50 MB with 200 ms delay took $ms ms"
proxy_do p delay 0
proxy_do p bandwidth 2000000
ms=$(elapsed_ms get "$url/1000000")
[ "$ms" -ge 450 ] || fail "1 MB at 2 MB/s took $ms ms"
