#!/bin/sh
# SPDX-License-Identifier: MIT
# Two nodes append to a name that both believe is absent: neither line is lost
# [P9.3], and the conflict is counted [P9.1].  So when both append again and again
# at the same time [P9.6].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

cat >"$work/append.py" <<'PY'
import os, sys, threading
a, b = sys.argv[1:]
for i in range(10):
    names = ["%s/log%d" % (d, i) for d in (a, b)]
    for n in names:
        assert not os.path.exists(n)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    fds = [os.open(n, flags) for n in names]
    os.write(fds[1], b"line of B\n")
    os.write(fds[0], b"line of A\n")
    for fd in fds if i % 2 else reversed(fds):
        os.close(fd)
    for n in names:
        with open(n) as f:
            lines = sorted(f.read().splitlines())
        if lines != ["line of A", "line of B"]:
            print("%s: %r" % (n, lines))
            sys.exit(1)


def go(d, name):
    for i in range(60):
        fd = os.open(d + "/both", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b"%s %03d\n" % (name, i))
        os.close(fd)


threads = [threading.Thread(target=go, args=x) for x in ((a, b"A"), (b, b"B"))]
for t in threads:
    t.start()
for t in threads:
    t.join()
for d in (a, b):
    with open(d + "/both", "rb") as f:
        lines = f.read().split(b"\n")
    for name in (b"A", b"B"):
        want = [b"%s %03d" % (name, i) for i in range(60)]
        got = [x for x in lines if x[:1] == name]
        if got != want or len(lines) != 121:
            print("%s: %r" % (d, lines))
            sys.exit(1)
PY

body()
{
	mount_two
	python3 "$work/append.py" "$A" "$B" || fail "a line was lost"
}
each_store body
