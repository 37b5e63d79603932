#!/bin/sh
# SPDX-License-Identifier: MIT
# Eight processes on two nodes race O_CREAT|O_EXCL, then mkdir, for the same
# names: each name has exactly one winner, and its content is the winner's
# [P3.1]; on s3 also when the reply to the winning request is lost (rule 2).
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

cat >"$work/race.py" <<'PY'
import errno, multiprocessing, os, sys
prefix, count, dirs = sys.argv[1], int(sys.argv[2]), sys.argv[3:]

def racer(i, d, barrier, q):
    won = []
    errors = []
    for n in range(count):
        name = "%s/%s%d" % (d, prefix, n)
        if n % 20 == 0:
            barrier.wait()
        try:
            fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(fd, b"%d\n" % i)
            os.close(fd)
            won.append(n)
        except FileExistsError:
            pass
        except OSError as e:
            errors.append("%s: %s" % (name, e))
        try:
            os.mkdir(name + ".d")
            won.append(count + n)
        except FileExistsError:
            pass
        except OSError as e:
            errors.append("mkdir %s: %s" % (name, e))
    q.put((i, won, errors))

procs = 4
q = multiprocessing.Queue()
barrier = multiprocessing.Barrier(procs * len(dirs))
ps = [multiprocessing.Process(target=racer, args=(i, dirs[i % len(dirs)], barrier, q))
      for i in range(procs * len(dirs))]
for p in ps: p.start()
winner, bad = {}, []
for p in ps:
    i, won, errors = q.get()
    bad += errors
    for n in won:
        winner.setdefault(n, []).append(i)
for p in ps: p.join()
for n in range(2 * count):
    w = winner.get(n, [])
    if len(w) != 1:
        bad.append("%s %s%d: winners %s" % (
            "file" if n < count else "directory", prefix, n % count, w))
    elif n < count:
        for d in dirs:
            with open("%s/%s%d" % (d, prefix, n)) as f:
                got = f.read()
            if got != "%d\n" % w[0]:
                bad.append("%s/%s%d has %r, winner %d" % (d, prefix, n, got, w[0]))
per = {i: sum(1 for v in winner.values() if v == [i]) for i in range(len(ps))}
print("wins per process:", per)
for b in bad[:20]: print(b)
sys.exit(1 if bad else 0)
PY

count=200
! quick || count=60
body()
{
	if [ "$store" = s3 ]; then
		start_proxy p "127.0.0.1:$RGW_PORT"
		OPTS="$OPTS,endpoint=http://127.0.0.1:$proxy_port"
	fi
	mount_two
	python3 "$work/race.py" plain "$count" "$A" "$B" || fail "the race"
	[ "$store" = s3 ] || return 0
	# Each of these was carried out by the server, and nobody was told.
	proxy_do p fault match=PUT path=lost skip=3 n=40 drop
	python3 "$work/race.py" lost "$count" "$A" "$B" ||
		fail "the race with lost replies"
	same "lost replies" "$(proxy_do p hits)" 40
}
each_store body
