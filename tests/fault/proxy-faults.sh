#!/bin/sh
# SPDX-License-Identifier: MIT
# One fault after the other between two nodes and S3, each again and again while
# programs upload on one node and read on both: with hard no program sees an
# error [P7.1] or other bytes, and what was acknowledged is in the store as
# another client reads it [P1.1] [P1.3], no more and no less.
#   FAULT_OPS=10000      operations under each fault (100; SHAREDFS_QUICK: 40)
#   FAULTS="cut reset"   these only
# (Uploads that arrive late are ghost.sh's.)
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
. "$srcdir/tests/fault/truth.sh"
need_mount
need_program python3 rclone
ops=${FAULT_OPS:-100}
[ -n "${FAULT_OPS-}" ] || ! quick || ops=40
new_store s3
start_proxy p "127.0.0.1:$RGW_PORT"

# Keys come from a file, so that they can be replaced (fault_token).
HOME=$work/home AWS_EC2_METADATA_DISABLED=true
export HOME AWS_EC2_METADATA_DISABLED
key=$AWS_ACCESS_KEY_ID secret=$AWS_SECRET_ACCESS_KEY
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
mkdir -p "$HOME/.aws"

use_key()
{
	printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
		"$1" "$2" >"$HOME/.aws/new"
	mv "$HOME/.aws/new" "$HOME/.aws/credentials"
}

each()
{
	proxy_do p fault n=all "$@"
}

# canned NAME STATUS DATE CODE: a reply with an error document.
canned()
{
	words="<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<Error><Code>$4</Code><Message>as the test wants it</Message></Error>"
	printf 'HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s' \
		"$2" "$(LC_ALL=C date -u -d "$3" '+%a, %d %b %Y %H:%M:%S GMT')" \
		"${#words}" "$words" >"$work/$1"
}

# --- the faults ---------------------------------------------------------------

fault_cut()
{
	each match=GET every=3 cut=100
	each match=LIST every=4 cut=100
	each match=PUT every=5 cut-request=100
	each match=PART every=3 cut-request=100000
}

fault_reset()
{
	each every=6 reset
}

fault_lost_reply()
{
	each match=method:PUT every=5 drop
	each match=method:POST every=3 drop
	each match=DELETE every=4 drop
}

# Single ones, and then everything for a while.
fault_503()
{
	each every=5 status=503
	proxy_do p fault skip=100 n=6 status=503
}

# Longer than request_timeout.
fault_stall()
{
	each every=40 stall=6000
}

fault_truncated()
{
	each match=GET every=3 truncate=10
	each match=LIST every=4 truncate=10
}

# Far enough apart that none is hit four times, which is an error ([P1.3]).
# A part of an object has no checksum that S3 would send: what is read of u8,
# the uploader with the large files, is left alone.
fault_corrupted()
{
	each match=GET not=/u8/ every=30 corrupt=20
	each match=LIST every=30 corrupt=20
	each match=PUT every=30 corrupt-request=5
	each match=PART every=30 corrupt-request=9
}

# 200 and then an error, as S3 answers copies that fail half way.
fault_200_error()
{
	canned error-200 "200 OK" now InternalError
	each match=COPY every=3 canned="$work/error-200"
	each match=COMPLETE every=2 canned="$work/error-200"
}

# The server's clock is ahead, right, behind (it takes 15 minutes); requests that
# were under way together are all refused.
fault_clock()
{
	canned clock0 "403 Forbidden" "now + 12 minutes" RequestTimeTooSkewed
	canned clock1 "403 Forbidden" "now" RequestTimeTooSkewed
	canned clock2 "403 Forbidden" "now - 12 minutes" RequestTimeTooSkewed
	during=turn_clock
}

turn_clock()
{
	together canned="$work/clock$((turns % 3))"
}

# The session whose key is in use is over; the file has another one by then.
fault_token()
{
	during=turn_token
}

turn_token()
{
	set -- $(rgw key "$RGW_DIR")
	keys="$keys $1"
	proxy_do p pause
	use_key "$1" "$2"
	together status="400 ExpiredToken"
}

# together FAULT: nobody is answered before all that are under way are refused;
# what comes then knows better.
together()
{
	seen=$(proxy_do p hits) n=0
	proxy_do p pause
	for m in PUT LIST GET; do
		each "match=$m" "$1"
	done
	until [ "$(proxy_do p hits)" -gt "$seen" ] || [ $n = 10 ]; do
		sleep 0.1
		n=$((n + 1))
	done
	sleep 0.1
	proxy_do p clear
	proxy_do p resume
	[ "$(proxy_do p hits)" -gt "$seen" ] || return 0
	turns=$((turns + 1))
	# Keys that were just read are not doubted for a second.
	sleep 1.2
}

# More slowly than request_timeout allows to be silent, but never silent.
fault_trickle()
{
	proxy_do p bandwidth 1000000
}

# ------------------------------------------------------------------------------

one_fault()
{
	fault=$1 during=
	mkdir "$A/$fault"
	before=$(proxy_do p hits)
	"fault_$fault" >"$work/proxy.words"
	! grep -q error "$work/proxy.words" || fail "$(cat "$work/proxy.words")"
	start=$(date +%s)
	n=$ops
	[ -z "$during" ] || n=0
	"$builddir/tests/bin/uploaders" "$A/$fault" "$B/$fault" 12 "$work/stop" \
		"$work/sums.$fault" 1 $n >"$work/$fault.out" 2>&1 &
	p=$!
	test_pids="$test_pids $p"
	turns=0
	while [ "$during" ] && [ $turns -lt $((2 + ops / 200)) ] &&
	    ! not_running $p; do
		"$during" >"$work/during.words"
	done
	[ -z "$during" ] || : >"$work/stop"
	wait $p || {
		cat "$work/$fault.out"
		fail "a program saw an error ($fault)"
	}
	proxy_do p clear
	proxy_do p bandwidth 0
	rm -f "$work/stop"
	hits=$(($(proxy_do p hits) - before))
	echo "$fault: $(cat "$work/$fault.out"), $hits faults, $(($(date +%s) - start)) s"
	[ "$fault" = trickle ] || [ "$hits" -gt 0 ] || fail "$fault never came"
	same "pending ($fault)" "$(status_field "$A" pending_files)" 0
	same "failed ($fault)" "$(status_field "$A" errors.failed_files)" 0
	same "conflicts ($fault)" "$(status_field "$A" conflicts)" 0
}

use_key "$key" "$secret"
keys=
A=$work/A B=$work/B
OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port,request_timeout=2,connect_timeout=2,part_size=5M"
mount_node A "$SOURCE" "$A"
mount_node B "$SOURCE" "$B"
faults=${FAULTS:-cut reset lost_reply 503 stall truncated corrupted 200_error
	clock token trickle}
for f in $faults; do
	one_fault "$f"
done
umount_all
use_key "$key" "$secret"
for k in $keys; do
	rgw rmkey "$RGW_DIR" "$k"
done
get_truth
for f in $faults; do
	whole "$f"
done
echo "$files files are whole in the store"
