#!/bin/sh
# SPDX-License-Identifier: MIT
# Credentials on a real mount: each way to give them works, what is wrong with
# them is said, they are never seen from outside, and a key that is replaced
# under a running mount goes unnoticed.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

need_mount
new_store s3
key=$AWS_ACCESS_KEY_ID secret=$AWS_SECRET_ACCESS_KEY
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
HOME=$work/home AWS_EC2_METADATA_DISABLED=true
export HOME AWS_EC2_METADATA_DISABLED
mkdir -p "$HOME/.aws"
dir=$work/dir

# write_keys FILE KEY SECRET: the [default] profile.
write_keys()
{
	printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
		"$2" "$3" >"$1.new"
	mv "$1.new" "$1"
}

# Nothing that others may read holds the secret.
unseen()
{
	! grep -rqF -e "$secret" "$work/n.log" || fail "$1: secret in the log"
	for p in $(status_field "$dir" supervisor_pid) \
	    $(status_field "$dir" worker_pid); do
		! tr '\0' ' ' <"/proc/$p/cmdline" | grep -qF -e "$secret" ||
			fail "$1: secret in argv of process $p"
	done
	sharedfs status --json "$dir" >"$work/status"
	! grep -qF -e "$secret" "$work/status" || fail "$1: secret in status"
	! grep -F -e "$secret" /proc/self/mountinfo || fail "$1: in mountinfo"
	! grep -rqF -e "$secret" "$work/cache-n" || fail "$1: in the cache"
}

# works HOW [OPTIONS]
works()
{
	echo "== $1"
	mount_node n "$SOURCE" "$dir" "$OPTS,log_level=debug${2:+,$2}"
	echo "$1" >"$dir/file"
	same "$1" "$(rgw req "$RGW_DIR" GET "/$bucket/file")" "$1"
	unseen "$1"
	umount_all
}

# refused WORDS [OPTIONS]: no mount, and words that help.
refused()
{
	echo "== refused: $1"
	code=0
	mkdir -p "$dir"
	sharedfs mount "$SOURCE" "$dir" -o "cache_dir=$work/c,$OPTS${2:+,$2}" \
		>"$work/out" 2>&1 || code=$?
	[ "$code" != 0 ] || fail "mounted with $1"
	grep -qF -e "$1" "$work/out" || {
		cat "$work/out" >&2
		fail "no word of '$1'"
	}
	! grep -qF -e "$secret" "$work/out" || fail "the secret is printed"
	[ -z "$(our_mounts)" ] || fail "mounted all the same"
}

echo "$key:$secret" >"$work/passwd"
chmod 600 "$work/passwd"
works passwd_file "passwd_file=$work/passwd"
chmod 640 "$work/passwd"
refused "chmod 600" "passwd_file=$work/passwd"
refused "$work/none" "passwd_file=$work/none"
refused "none found"

AWS_ACCESS_KEY_ID=$key AWS_SECRET_ACCESS_KEY=$secret
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
works environment
AWS_SECRET_ACCESS_KEY=wrong$secret
refused SignatureDoesNotMatch
AWS_ACCESS_KEY_ID=NOSUCHKEY
refused InvalidAccessKeyId
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

write_keys "$HOME/.aws/credentials" "$key" "$secret"
works profile
refused "profile nobody is in neither" profile=nobody
rm "$HOME/.aws/credentials"

# A program whose words would show the secret in argv if a shell ran it.
printf '{"Version":1,"AccessKeyId":"%s","SecretAccessKey":"%s"}' \
	"$key" "$secret" >"$work/keys.json"
printf '[profile p]\ncredential_process = cat "%s"\n' "$work/keys.json" \
	>"$HOME/.aws/config"
works credential_process profile=p
rm "$HOME/.aws/config"

echo "== a key is replaced under the mount"
set -- $(rgw key "$RGW_DIR")
first_key=$1 first_secret=$2
write_keys "$HOME/.aws/credentials" "$1" "$2"
mount_node n "$SOURCE" "$dir" "$OPTS"
echo one >"$dir/rotated"
write_keys "$HOME/.aws/credentials" "$key" "$secret"
rgw rmkey "$RGW_DIR" "$first_key"
! AWS_ACCESS_KEY_ID=$first_key AWS_SECRET_ACCESS_KEY=$first_secret \
	s3req HEAD "/$bucket/rotated" >/dev/null 2>&1 ||
	fail "the server still takes the first key"
# What was just read is not doubted for a second.
sleep 1
echo two >"$dir/rotated" || fail "a write after the key was replaced"
same "after the key was replaced" \
	"$(rgw req "$RGW_DIR" GET "/$bucket/rotated")" two
umount_all
