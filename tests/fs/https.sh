#!/bin/sh
# SPDX-License-Identifier: MIT
# A bucket over https, by path and by virtual host, with a CA of our own; a
# server that this CA did not sign is refused with words.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program openssl

new_store s3
common=log_level=info,region=us-east-1
head -c 20000000 /dev/urandom >"$work/large"
A=$work/A B=$work/B
mount_node A "$SOURCE" "$A" \
	"$common,endpoint=$RGW_HTTPS,path_style,ca_bundle=$RGW_CA"
mount_node B "$SOURCE" "$B"
cp "$work/large" "$A/large"
cmp "$work/large" "$B/large"
echo small >"$B/small"
same "small" "$(cat "$A/small")" small
umount_all

# The certificate names this one bucket's host, so it is made only once.
bucket=vhost
s3req HEAD /vhost >/dev/null || rgw bucket "$RGW_DIR" vhost
# libcurl finds all of *.localhost on this machine.
mount_node A "s3://vhost/$$" "$A" \
	"$common,endpoint=$RGW_HTTPS,nopath_style,ca_bundle=$RGW_CA"
mkdir "$A/dir"
cp "$work/large" "$A/dir/large"
mv "$A/dir" "$A/moved"
umount_node "$A"
rm -rf "$work/cache-A"
mount_node A "s3://vhost/$$" "$A" \
	"$common,endpoint=$RGW_HTTPS,nopath_style,ca_bundle=$RGW_CA"
cmp "$work/large" "$A/moved/large"
rm -r "$A/moved"
umount_all

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
	-days 2 -subj /CN=other -keyout "$work/other.key" \
	-out "$work/other.pem" 2>/dev/null
mkdir -p "$work/C"
if sharedfs mount "$SOURCE" "$work/C" -o "cache_dir=$work/cache-C,$common" \
    -o "endpoint=$RGW_HTTPS,path_style,ca_bundle=$work/other.pem" \
    >"$work/out" 2>&1; then
	fail "a certificate of an unknown CA was taken"
fi
grep -qi 'certificate\|CA' "$work/out" || fail "$(cat "$work/out")"
grep -q ca_bundle "$work/out" || fail "no cure is named: $(cat "$work/out")"
