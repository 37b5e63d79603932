# SPDX-License-Identifier: MIT
"""Programs on a node that loses power: power-loss.py DIR SEED STOP SUMS HELD

Files are made (a temporary name, chmod, rename), changed in place, appended to,
cut and removed until STOP is there.  SUMS: what close() acknowledged, for
sha256sum -c.  Beside them HELD tells, while they are written, how many bytes of
the files "open" and "old" nobody closed; they are closed at the end.
"""
import hashlib
import os
import random
import sys
import threading
import traceback

root, seed, stop, sums, held = sys.argv[1:]
failed = []
final = {}


def change(rnd, path, data):
    """In place, as an editor of large files does."""
    how = rnd.randrange(4)
    fd = os.open(path, os.O_RDWR | (os.O_APPEND if how == 0 else 0))
    if how == 3:
        data = data[:rnd.randrange(len(data))]
        os.ftruncate(fd, len(data))
    for _ in range(rnd.randrange(1, 4)):
        new = rnd.randbytes(rnd.randrange(1, 20000))
        if how == 0:
            os.write(fd, new)
            data += new
        else:
            at = rnd.randrange(len(data) + 1)
            os.pwrite(fd, new, at)
            data = data[:at] + new + data[at + len(new):]
        if rnd.randrange(3) == 0:
            os.fsync(fd)
    os.close(fd)
    return data


def uploader(number):
    rnd = random.Random(int(seed) * 100 + number)
    d = 'u%d' % number
    os.mkdir(os.path.join(root, d))
    n = 0
    while not os.path.exists(stop):
        name = os.path.join(d, 'f%d' % rnd.randrange(20))
        path = os.path.join(root, name)
        what = rnd.randrange(8)
        if name in final and what < 3:
            final[name] = change(rnd, path, final[name])
        elif name in final and what == 3:
            os.unlink(path)
            del final[name]
        elif name in final and what == 4:
            with open(path, 'rb') as f:
                assert f.read() == final[name], name
        else:
            data = rnd.randbytes(rnd.randrange(1, 300000))
            tmp = path + '.tmp'
            fd = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            for at in range(0, len(data), 7000):
                os.write(fd, data[at:at + 7000])
            os.close(fd)
            os.chmod(tmp, 0o644)
            os.rename(tmp, path)
            final[name] = data
        n += 1
        if n % 10 == 0:
            # A directory that moves, and its old name is used again.
            a = os.path.join(root, d, 'a')
            b = os.path.join(root, d, 'b%d' % n)
            os.mkdir(a)
            with open(os.path.join(a, 'x'), 'w') as f:
                f.write('%d' % n)
            os.rename(a, b)
            final[os.path.join(d, 'b%d' % n, 'x')] = b'%d' % n


def holder():
    rnd = random.Random(int(seed))
    new = os.open(os.path.join(root, 'open'), os.O_CREAT | os.O_RDWR, 0o640)
    old = os.open(os.path.join(root, 'old'), os.O_RDWR)
    data, size = b'', 0
    while not os.path.exists(stop):
        more = rnd.randbytes(3000)
        os.write(new, more)
        data += more
        os.pwrite(old, more, size % 200000)
        size += len(more)
        with open(held + '.new', 'w') as f:
            f.write('%d\n' % size)
        os.rename(held + '.new', held)
        if size > 4000000:
            while not os.path.exists(stop):
                threading.Event().wait(0.02)
    os.close(old)
    os.close(new)
    final['open'] = data


def run(fn, *args):
    try:
        fn(*args)
    except Exception:
        failed.append(args)
        traceback.print_exc()


threads = [threading.Thread(target=run, args=(uploader, i)) for i in range(3)]
threads.append(threading.Thread(target=run, args=(holder,)))
for t in threads:
    t.start()
for t in threads:
    t.join()
with open(sums, 'w') as f:
    for name, data in sorted(final.items()):
        f.write('%s  %s\n' % (hashlib.sha256(data).hexdigest(), name))
print(len(final), 'files')
sys.exit(bool(failed))
