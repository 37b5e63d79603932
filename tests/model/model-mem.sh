#!/bin/sh
# SPDX-License-Identifier: MIT
# Random operations on the memory store in both of its kinds; also with lost
# replies, which nobody may notice.  MODEL_OPS, MODEL_ARGS (seed=N) for more.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

TMPDIR=$work
export TMPDIR
n=10000
quick && n=2000
n=${MODEL_OPS:-$n}
for url in mem: mem:object; do
	model $url "ops=$n" ${MODEL_ARGS-}
	model $url "ops=$n" actimeo=0 ${MODEL_ARGS-}
	model $url "ops=$((n / 2))" lost=3 ${MODEL_ARGS-}
done
