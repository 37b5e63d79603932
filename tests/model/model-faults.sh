#!/bin/sh
# SPDX-License-Identifier: MIT
# Every Nth call of the store fails, before or after it was done: what failed
# has happened or not, and nothing else.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

TMPDIR=$work
export TMPDIR
n=3000
quick && n=1000
n=${MODEL_OPS:-$n}
for every in 2 3 5 11; do
	model mem: "ops=$n" "faults=$every" ${MODEL_ARGS-}
	model mem:object "ops=$n" "faults=$every" ${MODEL_ARGS-}
	mkdir "$work/store-$every"
	model "$work/store-$every" "ops=$n" "faults=$every" ${MODEL_ARGS-}
done
# A removal whose answer is lost leaves a content that is not there.
mkdir "$work/store-seed"
model "$work/store-seed" ops=3000 faults=11 seed=4260983413
