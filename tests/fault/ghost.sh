#!/bin/sh
# SPDX-License-Identifier: MIT
# An upload whose connection was cut reaches the server later, when newer
# bytes are there: it must not overwrite them (rule 1), and an upload or rename
# whose reply was lost is not done twice or taken for another node's (rule 2).
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

conflicts()
{
	status_field "$A" conflicts
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	A=$work/A B=$work/B
	mount_node A "$SOURCE" "$A" \
		"$OPTS,endpoint=http://127.0.0.1:$proxy_port"
	mount_node B "$SOURCE" "$B"

	# Late: of a new file, of an existing one.
	for f in new old; do
		[ $f = new ] || echo zero >"$A/$f"
		proxy_do p fault match=PUT "path=/$f" late=2000
		echo "ghost of $f" >"$A/$f"
		echo "newer $f" >"$A/$f"
		same "at once" "$(cat "$B/$f")" "newer $f"
	done
	wait_until 20 "the ghosts" ghosts_came
	for f in new old; do
		same "after the ghost, A" "$(cat "$A/$f")" "newer $f"
		same "after the ghost, B" "$(cat "$B/$f")" "newer $f"
	done
	same "hits" "$(proxy_do p hits)" 2

	# Lost replies: the same change is not made twice, nor is it a conflict.
	before=$(conflicts)
	proxy_do p fault match=PUT path=/lost drop
	echo "one" >"$A/lost"
	same "new file" "$(cat "$B/lost")" one
	proxy_do p fault match=PUT path=/lost drop
	echo "two" >>"$A/lost"
	same "appended once" "$(cat "$B/lost")" "one
two"
	proxy_do p fault match=COPY path=/lost drop
	chmod 600 "$A/lost"
	proxy_do p fault match=COPY path=/moved drop
	mv "$A/lost" "$A/moved"
	wait_until 3 "the end of the old name" test ! -e "$B/lost"
	same "moved" "$(stat -c %a "$B/moved") $(cat "$B/moved")" "600 one
two"
	proxy_do p fault match=DELETE path=/moved drop
	rm "$A/moved"
	wait_until 3 "the removal" test ! -e "$B/moved"
	proxy_do p fault match=PUT path=/dir drop
	mkdir "$A/dir"
	[ -d "$B/dir" ] || fail "no directory"
	proxy_do p fault match=DELETE path=/dir drop
	rmdir "$A/dir"
	# Multipart: each step's reply once.
	head -c 30000000 /dev/urandom >"$work/large"
	for step in PART COMPLETE; do
		proxy_do p fault match=$step path=/large drop
	done
	cp "$work/large" "$A/large"
	cmp "$work/large" "$B/large"
	same "conflicts" "$(conflicts)" "$before"
	same "hits" "$(proxy_do p hits)" 11
	wait_until 10 "orphaned uploads to go" no_uploads
}

ghosts_came()
{
	[ "$(grep -c '^[0-9]* PUT PUT .*/\(new\|old\)$' "$work/p.requests")" -ge 7 ]
}

no_uploads()
{
	rgw req "$RGW_DIR" GET "/$bucket?uploads" >"$work/uploads"
	! grep -q '<UploadId>' "$work/uploads"
}

STORES=s3 each_store body
