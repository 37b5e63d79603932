#!/bin/sh
# SPDX-License-Identifier: MIT
# What a user gets wrong about the bucket: the message names the cause and what
# to do, never the secret.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_rgw
new_bucket

# says 'WORDS' [VAR=value…] be-tool-arguments…: fails with these words.
says()
{
	words=$1
	shift
	code=0
	env "$@" >"$work/out" 2>&1 || code=$?
	[ "$code" = 1 ] || {
		cat "$work/out" >&2
		fail "$*: exit status $code"
	}
	grep -qi -- "$words" "$work/out" || {
		cat "$work/out" >&2
		fail "$*: no word of '$words'"
	}
	if grep -qF -- "$AWS_SECRET_ACCESS_KEY" "$work/out"; then
		fail "the secret is in the message"
	fi
}
probe()
{
	words=$1
	shift
	says "$words" "$@" be-tool -o endpoint="$RGW_ENDPOINT" "s3://$bucket" \
		probe
}
endpoint()
{
	words=$1 url=$2
	shift 2
	says "$words" be-tool "$@" -o endpoint="$url" "s3://$bucket" probe
}

be-tool -o endpoint="$RGW_ENDPOINT" "s3://$bucket" probe

echo "== bucket and keys"
says "there is no bucket no-such-bucket.*make it" \
	be-tool -o endpoint="$RGW_ENDPOINT" s3://no-such-bucket probe
probe "InvalidAccessKeyId.*access key is not known" AWS_ACCESS_KEY_ID=NOBODY
probe "SignatureDoesNotMatch.*secret key is wrong" \
	AWS_SECRET_ACCESS_KEY=wrongwrongwrong
probe "credentials.*none found; tried" AWS_ACCESS_KEY_ID= AWS_SECRET_ACCESS_KEY= \
	HOME="$work" AWS_EC2_METADATA_DISABLED=true
other=$(rgw user "$RGW_DIR" "stranger-$bucket")
probe "may not list the bucket" AWS_ACCESS_KEY_ID="${other% *}" \
	AWS_SECRET_ACCESS_KEY="${other#* }"

echo "== clock"
# Signed an hour off; a wrong clock is corrected, so it works, and says so.
if command -v faketime >/dev/null; then
	faketime '-1 hour' be-tool -o endpoint="$RGW_ENDPOINT" "s3://$bucket" \
		ls "" 2>"$work/out" || fail "an hour off: $(cat "$work/out")"
	grep -q "clock differs" "$work/out" || fail "no word about the clock"
else
	echo "faketime is not installed: the clock is tested in s3-reply-test"
fi

echo "== endpoint"
closed=$(python3 -c '
import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
endpoint "is the server running" "http://127.0.0.1:$closed"
endpoint "DNS" http://no-such-host.invalid
endpoint "speak https" "https://127.0.0.1:$RGW_PORT"
endpoint "ca_bundle" "$RGW_HTTPS"
# A name that is not on the certificate.
endpoint "certificate is not trusted.*right name" \
	"https://other.localhost:$RGW_HTTPS_PORT" -o ca_bundle="$RGW_CA"
endpoint "can't be read" "$RGW_HTTPS" -o ca_bundle="$work/missing.pem"
echo "no certificate" >"$work/bad.pem"
endpoint "PEM" "$RGW_HTTPS" -o ca_bundle="$work/bad.pem"
endpoint "only http:// and https://" ftp://localhost
endpoint "can't be understood" 'http://'
endpoint "can't be understood" 'http://user@host'
be-tool -o endpoint="$RGW_HTTPS" -o ca_bundle="$RGW_CA" "s3://$bucket" probe
be-tool -o endpoint="$RGW_HTTPS" -o insecure=yes "s3://$bucket" probe
(
	cd "$work"
	mkdir -p web
	python3 - web >port <<-'PY' &
	import http.server, os, sys
	os.chdir(sys.argv[1])
	s = http.server.HTTPServer(("127.0.0.1", 0),
	                           http.server.SimpleHTTPRequestHandler)
	print(s.server_port, flush=True)
	sys.stderr = open(os.devnull, "w")
	s.serve_forever()
	PY
	echo $! >web.pid
)
until [ -s "$work/port" ]; do kill -0 "$(cat "$work/web.pid")"; done
endpoint "endpoint\|404" "http://127.0.0.1:$(cat "$work/port")"
kill "$(cat "$work/web.pid")"

echo "== sources and options"
bad()
{
	words=$1
	shift
	says "$words" be-tool -o endpoint="$RGW_ENDPOINT" "$@"
}
bad "can't be a bucket" s3://x probe
bad "can't be a bucket" "s3:///x" probe
bad "can't be a bucket" "s3://b\$d" probe
bad "can't be a prefix" "s3://$bucket/a//b" probe
bad "can't be a prefix" "s3://$bucket/../b" probe
bad "not known; use" "s3://$bucket?colour=red" probe
bad "not understood" "s3://$bucket?region" probe
bad "part_size" -o part_size=1M "s3://$bucket" probe
bad "part_size" -o part_size=10X "s3://$bucket" probe
bad "parallel" -o parallel=0 "s3://$bucket" probe
bad "checksum" -o checksum=crc7 "s3://$bucket" probe
bad "posix_meta" -o posix_meta=windows "s3://$bucket" probe
bad "umask" -o umask=9 "s3://$bucket" probe
bad "uid" -o uid=no-such-user "s3://$bucket" probe
bad "request_timeout" -o request_timeout=soon "s3://$bucket" probe

echo "== read-only keys"
s3req PUT "/$bucket/f" -d content >/dev/null
cat >"$work/policy" <<-EOP
{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
"Principal":{"AWS":["arn:aws:iam:::user/stranger-$bucket"]},
"Action":["s3:ListBucket","s3:GetObject"],
"Resource":["arn:aws:s3:::$bucket","arn:aws:s3:::$bucket/*"]}]}
EOP
s3req PUT "/$bucket?policy" -f "$work/policy" >/dev/null
ro()
{
	AWS_ACCESS_KEY_ID="${other% *}" AWS_SECRET_ACCESS_KEY="${other#* }" \
		be-tool -o endpoint="$RGW_ENDPOINT" "s3://$bucket" "$@"
}
[ "$(ro cat f 2>"$work/out")" = content ] || fail "can't read"
grep -q "the share is read-only" "$work/out" || fail "no warning"
ro new g 2>&1 | grep -q EACCES || fail "could write"
