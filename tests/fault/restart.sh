#!/bin/sh
# SPDX-License-Identifier: MIT
# A daemon that is started again finds its cache: what was read or written
# before is not fetched again [P5.2], and a deleted cache loses nothing [P5.1].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

head -c 20000000 /dev/urandom >"$work/big"

# Bytes of bodies that came from the store would show as "200 GET".
fetched()
{
	grep -c '^20[06] GET .*/\(big\|small\)' "$work/p.requests" || :
}

body()
{
	start_proxy p "127.0.0.1:$RGW_PORT"
	OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port"
	A=$work/A
	mount_node A "$SOURCE" "$A"
	cp "$work/big" "$A/big"
	echo small >"$A/small"
	umount_node "$A"
	wait_gone
	same "fetched while writing" "$(fetched)" 0

	mount_node A "$SOURCE" "$A"
	cmp "$work/big" "$A/big"
	same "small" "$(cat "$A/small")" small
	same "fetched after a restart" "$(fetched)" 0
	umount_node "$A"
	wait_gone

	rm -rf "$work/cache-A"
	mount_node A "$SOURCE" "$A"
	cmp "$work/big" "$A/big"
	same "small" "$(cat "$A/small")" small
	[ "$(fetched)" -gt 0 ] || fail "nothing was fetched without a cache"
	umount_node "$A"
	wait_gone

	# A damaged cache is found out.
	find "$work/cache-A" -type f -size +1000k | while IFS= read -r f; do
		printf damage | dd of="$f" conv=notrunc bs=1 seek=500000 2>/dev/null
	done
	mount_node A "$SOURCE" "$A"
	cmp "$work/big" "$A/big"
}
STORES=s3 each_store body
