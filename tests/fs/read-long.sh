#!/bin/sh
# SPDX-License-Identifier: MIT
# A long file that is not in the cache is read past the kernel's pages; every
# way to read it, mappings too, has the same bytes, also while another program
# writes to it: a node sees its own changes at once [P2.6].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

MIB=80
cat >"$work/reader.py" <<'PY'
import mmap, os, sys

path, like = sys.argv[1:3]
want = open(like, 'rb').read()
size = len(want)
cold = os.open(path, os.O_RDONLY)

# Each call reads what it names, across blocks, at the end and behind it.
for off, n in (0, 1), (size - 5, 100), (size, 10), (40 << 20, 300001), (3, 70):
    assert os.pread(cold, n, off) == want[off:off + n], (off, n)
# A shared mapping, a private one, sendfile(), splice() and read() agree.
shared = mmap.mmap(cold, 0, mmap.MAP_SHARED, mmap.PROT_READ)
private = mmap.mmap(cold, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
for off in 5, (20 << 20) + 1, size - 4096:
    assert shared[off:off + 4096] == private[off:off + 4096]
    assert shared[off:off + 4096] == want[off:off + 4096]
private.close()
r, w = os.pipe()
os.sendfile(w, cold, (50 << 20) + 7, 30000)
assert os.read(r, 30000) == want[(50 << 20) + 7:][:30000]
os.splice(cold, w, 30000, offset_src=(60 << 20) + 7)
got = os.read(r, 30000)
assert got and got == want[(60 << 20) + 7:][:len(got)]
# Beside a writer, at places that were read, mapped, and neither.
out = os.open(path, os.O_RDWR)
for off in 5, 40 << 20, 70 << 20:
    os.pwrite(out, b'changed', off)
    assert os.pread(cold, 7, off) == b'changed', off
    assert shared[off:off + 7] == b'changed', off
both = mmap.mmap(out, 0)
both[6:9] = b'HAN'
assert os.pread(cold, 7, 5) == b'cHANged' and shared[5:12] == b'cHANged'
both.close()
shared.close()
os.ftruncate(out, size - 10)
assert os.pread(cold, 100, size - 20) == want[size - 20:size - 10]
os.close(out)
want = bytearray(want[:size - 10])
want[5:12] = b'cHANged'
for off in 40 << 20, 70 << 20:
    want[off:off + 7] = b'changed'
got = b''
os.lseek(cold, 0, os.SEEK_SET)
while True:
    b = os.read(cold, 1 << 20)
    if not b:
        break
    got += b
assert got == want, 'other bytes'
os.close(cold)
with open(path, 'rb') as f: # all of it is here now
    assert f.read() == want
PY

# How many pages the kernel has of a file that was read once, in KiB.
resident()
{
	python3 - "$1" <<'PY'
import ctypes, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
while os.read(fd, 1 << 20):
    pass
size = os.fstat(fd).st_size
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + \
    [ctypes.c_long]
at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
pages = (size + 4095) // 4096
have = (ctypes.c_ubyte * pages)()
if libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(size), have):
    raise OSError(ctypes.get_errno(), 'mincore')
print(sum(x & 1 for x in have) * 4)
PY
}

body()
{
	A=$work/A-$store B=$work/B-$store
	head -c "$((MIB << 20))" /dev/urandom >"$work/like"
	mount_node "B-$store" "$SOURCE" "$B"
	cp "$work/like" "$B/long"
	cp "$work/like" "$B/once"
	for mode in auto off; do
		echo "-- passthrough=$mode"
		cp "$work/like" "$B/long"
		mount_node "A-$store" "$SOURCE" "$A" "$OPTS,passthrough=$mode"
		kib=$(resident "$A/once")
		echo "pages behind a cold read: $kib KiB"
		[ "$kib" -lt 1024 ] || fail "the kernel has $kib KiB of it"
		python3 "$work/reader.py" "$A/long" "$work/like" ||
			fail "passthrough=$mode"
		python3 - "$A/long" "$B/long" <<'PY' || fail "two files"
import sys
a, b = (open(p, 'rb').read() for p in sys.argv[1:])
assert a == b
PY
		umount_node "$A"
		rm -r "$work/cache-A-$store"
	done
	umount_node "$B"
}
each_store body
