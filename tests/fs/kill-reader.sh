#!/bin/sh
# SPDX-License-Identifier: MIT
# What the kernel reads by itself stays the file that others change, in each
# worker that follows [P6.3] [P6.7].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3
need_faults

body()
{
	D=$work/$store-1
	mount_node "$store-1" "$SOURCE" "$D"
	python3 - "$builddir/sharedfs" "$D" "$SHAREDFS_FAULTS" <<'EOF' ||
import json, os, subprocess, sys, time

import killer

prog, d, faults = sys.argv[1:]
SIZE = 300000 # too large to be read through the kernel's pages

def kill_worker():
    out = subprocess.check_output([prog, 'status', '--json', d])
    killer.kill(json.loads(out)['worker_pid'])

def by_open(path, flags, data, at):
    fd = os.open(path, flags)
    os.pwrite(fd, data, at)
    os.close(fd)

def sized(was, n):
    return was[:n].ljust(n, b'\0')

# What is done by name, and what it makes of the bytes.
changes = {
    'cut': (lambda p: os.truncate(p, 1000), lambda w: sized(w, 1000)),
    'grown': (lambda p: os.truncate(p, SIZE + 1000),
              lambda w: sized(w, SIZE + 1000)),
    'written': (lambda p: by_open(p, os.O_WRONLY, b'new', 5),
                lambda w: sized(w, max(5, len(w)))[:5] + b'new' + w[8:]),
    'appended': (lambda p: by_open(p, os.O_WRONLY | os.O_APPEND, b'new', 0),
                 lambda w: w + b'new'),
    'replaced': (lambda p: by_open(p, os.O_WRONLY | os.O_TRUNC, b'new', 0),
                 lambda w: b'new'),
}
pairs = [(a, b) for a in changes for b in changes]
changes['emptied'] = (lambda p: os.close(os.open(p, os.O_RDONLY | os.O_TRUNC)),
                      lambda w: b'')
pairs += [('emptied', 'written'), ('written', 'emptied')]

for first, second in pairs:
    path = '%s/%s-%s' % (d, first, second)
    want = os.urandom(1000) * (SIZE // 1000)
    with open(path, 'wb') as f:
        f.write(want)
    reader = os.open(path, os.O_RDONLY)
    assert os.pread(reader, 10, 0) == want[:10]
    for how in first, second:
        kill_worker()
        changes[how][0](path)
        want = changes[how][1](want)
        got = os.pread(reader, SIZE * 2, 0)
        assert got == want, (path, how, len(got), len(want))
        assert os.fstat(reader).st_size == len(want), path
    os.close(reader)

def wait_for(what, fn):
    end = time.monotonic() + 60
    while not fn():
        assert time.monotonic() < end, 'waited in vain: ' + what
        time.sleep(0.05)

# Killed once more when the last writer has closed; a reader whose handle the
# worker in between was never asked for is none the less one of the file.
for how in changes:
    path = '%s/closed-%s' % (d, how)
    want = os.urandom(1000) * (SIZE // 1000)
    with open(path, 'wb') as f:
        f.write(want)
    reader = os.open(path, os.O_RDONLY)
    kill_worker()
    armed = faults + '/publish.dropped'
    open(armed, 'w').close()
    changes[how][0](path)
    want = changes[how][1](want)
    # If nothing is published now, it is by the next that is closed.
    with open(path + '-other', 'wb') as f:
        f.write(b'other')
    wait_for('the end of the worker', lambda: not os.path.exists(armed))
    changes['appended'][0](path)
    want = changes['appended'][1](want)
    got = os.pread(reader, SIZE * 2, 0)
    assert got == want, (path, len(got), len(want))
    os.close(reader)
EOF
		fail "see above"
	same failed "$(status_field "$D" errors.failed_files)" 0
	nodes_pids="$nodes_pids $(status_field "$D" worker_pid)"
}
each_store body
