# SPDX-License-Identifier: MIT
# What the store has, without sharedfs, against what tests/fault/uploaders.c
# was told; sourced behind tests/lib/lib.sh.
unset AWS_CA_BUNDLE # rclone does not start with it
files=0

# Sets $truth to a directory with what is in the store.
get_truth()
{
	truth=${store_dir-}
	[ "$store" = s3 ] || return 0
	truth=$work/truth
	rm -rf "$truth"
	: >"$work/rclone.conf"
	RCLONE_CONFIG=$work/rclone.conf RCLONE_CONFIG_R_TYPE=s3 \
	RCLONE_CONFIG_R_PROVIDER=Ceph RCLONE_CONFIG_R_ENV_AUTH=true \
	RCLONE_CONFIG_R_ENDPOINT=$RGW_ENDPOINT \
		rclone copy --transfers 8 "r:$bucket/" "$truth"
}

# whole DIR: names and bytes below it are those of $work/sums.DIR; counts them
# in $files.
whole()
{
	dir=$1
	mkdir -p "$truth/$dir" # a bucket has no empty directories
	(cd "$truth/$dir" && find . -type f | LC_ALL=C sort) >"$work/there"
	sed 's|^[0-9a-f]*  |./|' "$work/sums.$dir" | LC_ALL=C sort \
		>"$work/told"
	diff "$work/told" "$work/there" || fail "$dir: other names in the store"
	[ ! -s "$work/told" ] ||
		(cd "$truth/$dir" && sha256sum --quiet -c "$work/sums.$dir") ||
		fail "$dir: the store has something else"
	files=$((files + $(wc -l <"$work/told")))
}
