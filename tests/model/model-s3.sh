#!/bin/sh
# SPDX-License-Identifier: MIT
# Random operations on a bucket of a real gateway, also with lost replies.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

TMPDIR=$work
export TMPDIR
need_rgw
new_bucket
SHAREDFS_ENDPOINT=$RGW_ENDPOINT
SHAREDFS_REGION=us-east-1
SHAREDFS_PATH_STYLE=yes
export SHAREDFS_ENDPOINT SHAREDFS_REGION SHAREDFS_PATH_STYLE
n=5000
quick && n=2000
n=${MODEL_OPS:-$n}
model "s3://$bucket/one" "ops=$n" ${MODEL_ARGS-}
model "s3://$bucket/two" "ops=$((n / 10))" lost=3 ${MODEL_ARGS-}
model "s3://$bucket/three" "ops=$((n / 20))" faults=7 ${MODEL_ARGS-}
