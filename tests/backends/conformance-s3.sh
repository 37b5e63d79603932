#!/bin/sh
# SPDX-License-Identifier: MIT
# A real gateway keeps the contract: path style over http, and bucket names in
# the host name over https with a CA of our own.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

new_store s3
SHAREDFS_REGION=us-east-1
SHAREDFS_ENDPOINT=$RGW_ENDPOINT SHAREDFS_PATH_STYLE=yes
export SHAREDFS_REGION SHAREDFS_ENDPOINT SHAREDFS_PATH_STYLE
conformance "$SOURCE/some prefix/ä"
[ -z "$(be-tool -o endpoint="$RGW_ENDPOINT" "$SOURCE" ls "")" ] ||
	fail "something was left behind"

# The certificate has one such name.
rgw bucket "$RGW_DIR" vhost
SHAREDFS_ENDPOINT=$RGW_HTTPS SHAREDFS_PATH_STYLE=no SHAREDFS_CA_BUNDLE=$RGW_CA
export SHAREDFS_CA_BUNDLE
conformance "s3://vhost/$bucket"
