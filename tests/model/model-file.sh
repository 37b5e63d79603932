#!/bin/sh
# SPDX-License-Identifier: MIT
# Random operations on a shared directory.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

TMPDIR=$work
export TMPDIR
n=10000
quick && n=2000
n=${MODEL_OPS:-$n}
mkdir "$work/one" "$work/two"
model "file://$work/one" "ops=$n" ${MODEL_ARGS-}
model "file://$work/two" "ops=$n" actimeo=0 ${MODEL_ARGS-}
