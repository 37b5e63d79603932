# SPDX-License-Identifier: MIT
"""Uploaders: kill-storm.py DIR STOP SUMS

Each makes files as uploads are made (a temporary name, chmod, rename), reads
them back, overwrites parts of one, removes some.  Any error is fatal.  SUMS:
what must be in the store in the end, for sha256sum -c.
"""
import hashlib
import os
import random
import sys
import threading
import traceback

root, stop, sums = sys.argv[1:]
failed = []
final = {}


def uploader(number):
    rnd = random.Random(number)
    d = os.path.join(root, 'u%d' % number)
    os.mkdir(d)
    image = bytearray(300000)
    fixed = os.open(os.path.join(d, 'random'), os.O_RDWR | os.O_CREAT)
    os.write(fixed, image)
    n = 0
    while not os.path.exists(stop):
        data = rnd.randbytes(70000)
        tmp = os.path.join(d, 'tmp')
        fd = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        for at in range(0, len(data), 7000):
            os.write(fd, data[at:at + 7000])
        os.close(fd)
        os.chmod(tmp, 0o644)
        name = 'whole-%d' % (n % 9)
        os.rename(tmp, os.path.join(d, name))
        final[os.path.join('u%d' % number, name)] = data
        with open(os.path.join(d, name), 'rb') as f:
            assert f.read() == data, name
        for _ in range(5):
            at, new = rnd.randrange(290000), rnd.randbytes(rnd.randrange(9000))
            os.pwrite(fixed, new, at)
            image[at:at + len(new)] = new
        if n % 5 == 0:
            os.fsync(fixed)
        assert os.pread(fixed, 400000, 0) == image, 'random'
        if n % 4 == 0:
            os.mkdir(os.path.join(d, 'dir'))
            os.rmdir(os.path.join(d, 'dir'))
            os.unlink(os.path.join(d, name))
            del final[os.path.join('u%d' % number, name)]
        n += 1
    os.close(fixed)
    final[os.path.join('u%d' % number, 'random')] = bytes(image)


def run(number):
    try:
        uploader(number)
    except Exception:
        failed.append(number)
        traceback.print_exc()


threads = [threading.Thread(target=run, args=(i,)) for i in range(6)]
for t in threads:
    t.start()
for t in threads:
    t.join()
with open(sums, 'w') as f:
    for name, data in sorted(final.items()):
        f.write('%s  %s\n' % (hashlib.sha256(data).hexdigest(), name))
print(len(final), 'files')
sys.exit(bool(failed))
