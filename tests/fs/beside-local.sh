#!/bin/sh
# SPDX-License-Identifier: MIT
# The mount beside a directory of the local disk: the same random calls of
# several users have the same results.
#
#   SEEDS="7 8" BESIDE_OPS=5000 ./run tests/fs/beside-local.sh
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount

ops=1000
quick && ops=400
body()
{
	mount_node A "$SOURCE" "$work/A" \
		"$OPTS,allow_other,default_permissions"
	chmod 755 "$work"
	for seed in ${SEEDS:-1 2}; do
		local="$work/local-$kind-$seed"
		mkdir -m 777 "$local" "$work/A/$seed"
		chmod 777 "$local" "$work/A/$seed"
		python3 -B "$srcdir/tests/fs/beside-local.py" "$local" \
			"$work/A/$seed" "$kind" "$seed" "${BESIDE_OPS:-$ops}" ||
			fail "seed $seed on $kind"
	done
}
each_store body
