#!/bin/sh
# SPDX-License-Identifier: MIT
# A file that another node writes all the time, while many programs here open
# it and some hold it open: its name is always there [P2.1] [P2.6].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

cat >"$work/open.py" <<'PY'
import collections, os, sys, threading, time
a, b = (d + "/f" for d in sys.argv[1:])
bad = collections.Counter()
done = threading.Event()


def put(i):
    fd = os.open(a, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(fd, b"%06d" % i)
    os.close(fd)


def look(call):
    while not done.is_set():
        try:
            call()
        except FileNotFoundError as e:
            bad["%s: %s" % (call.__name__, e)] += 1


def read():
    fd = os.open(b, os.O_RDONLY)
    try:
        os.read(fd, 10)
    except OSError:
        pass  # ESTALE: that version is gone [P2.7]
    os.close(fd)


def stat():
    os.stat(b)


def hold():
    fd = os.open(b, os.O_RDONLY)
    time.sleep(0.01)
    os.close(fd)


def stale(call):
    def again():
        try:
            call()
        except OSError as e:
            if e.errno != 116:  # ESTALE: it changed twice meanwhile
                raise
    again.__name__ = call.__name__
    return again


put(0)
threads = [threading.Thread(target=look, args=(stale(f),))
           for f in (read, read, read, stat, hold, hold)]
for t in threads:
    t.start()
end = time.monotonic() + 4
i = 0
while time.monotonic() < end:
    i += 1
    put(i)
done.set()
for t in threads:
    t.join()
for words, n in bad.items():
    print("%d times %s" % (n, words))
sys.exit(bool(bad))
PY

body()
{
	mount_two
	python3 "$work/open.py" "$A" "$B" || fail "the name was gone"
}
each_store body
