#!/bin/sh
# SPDX-License-Identifier: MIT
# packages.sh build|test|bench|fresh…: installs the Debian packages that a group
# needs and this machine lacks; changes and prints nothing when all are there.
# ./quickstart and ./check call it; SHAREDFS_NO_INSTALL=1 turns it off.
set -eu

build="autoconf automake pkg-config gcc make libc6-dev libfuse3-dev fuse3
	libcurl4-openssl-dev libssl-dev libxxhash-dev libexpat1-dev
	libjansson-dev libmicrohttpd-dev libmount-dev uthash-dev
	ca-certificates"
# Servers and clients to test against, tools to test with.
test="libcmocka-dev radosgw ceph-mon ceph-osd ceph-common
	s3fs rclone nginx-light python3 curl openssl procps
	git python3-yaml sqlite3 unzip zip rsync fio attr acl strace
	valgrind clang llvm xz-utils mandoc user-mode-linux"
# What bench/run measures beside, and with.
bench="s3fs rclone nginx-light wrk curl python3 util-linux"
fresh="debootstrap"

for group; do
	case $group in
	build|test|bench|fresh) eval "wanted=\"\${wanted-} \$$group\"" ;;
	*) echo "usage: packages.sh build|test|bench|fresh…" >&2; exit 2 ;;
	esac
done
[ -z "${SHAREDFS_NO_INSTALL-}" ] || exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "This is not a Debian system. Install what these Debian packages" \
		"hold, then run again with SHAREDFS_NO_INSTALL=1:" >&2
	echo $wanted >&2
	exit 1
fi

missing=
for p in $wanted; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) || state=
	[ "$state" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	root=
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
	root=sudo
else
	echo "Some packages are missing, and installing them needs root or" \
		"sudo. As root:" >&2
	echo "  apt-get install --no-install-recommends$missing" >&2
	exit 1
fi

echo "installing:$missing"
apt()
{
	$root env DEBIAN_FRONTEND=noninteractive apt-get -qq \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# The test servers are started by the tests, never by the package.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap '$root rm -f $policy' EXIT
	trap 'exit 1' INT TERM
	printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
	$root chmod 755 $policy
fi

for p in $missing; do
	case $(apt-cache policy "$p" 2>/dev/null) in
	''|*'Candidate: (none)'*) apt update; break ;;
	esac
done
# Lists that are too old name files that are gone: then once more, anew.
if ! apt install -y --no-install-recommends $missing >/dev/null; then
	apt update
	apt install -y --no-install-recommends $missing >/dev/null
fi
case $missing in
*nginx*)
	if command -v systemctl >/dev/null; then
		$root systemctl disable nginx >/dev/null 2>&1 || :
	fi
	;;
esac
