#!/bin/sh
# SPDX-License-Identifier: MIT
# A shared directory keeps the contract: as who we are, as a plain user, and
# on another kind of file system (tmpfs).  Nothing stays behind.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"

as_nobody()
{
	setpriv --reuid nobody --regid nogroup --clear-groups "$@"
}

mkdir "$work/as us"
conformance "file://$work/as us"
rmdir "$work/as us"
# The build tree may be closed to others.
if [ "$(id -u)" = 0 ] && as_nobody test -x "$builddir/tests/bin/conformance"
then
	mkdir "$work/as nobody"
	chown nobody "$work/as nobody"
	as_nobody "$builddir/tests/bin/conformance" "$work/as nobody"
	rmdir "$work/as nobody"
fi
if [ -w /dev/shm ]; then
	shm=$(mktemp -d /dev/shm/sharedfs-conformance.XXXXXX)
	conformance "$shm"
	rmdir "$shm"
fi
