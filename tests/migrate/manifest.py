# SPDX-License-Identifier: MIT
# Trees for large.sh, made and listed completely.
#   manifest.py make DIR FILES BYTES      small files, and a tenth of them large
#   manifest.py list DIR [LEFT-OUT…]      kind, mode, owner, size, time, SHA-256
# A directory's size and time are the store's own affair.
import hashlib, os, random, stat, sys
from concurrent.futures import ThreadPoolExecutor


def make(root, files, size):
    rnd, block = random.Random(11), os.urandom(1 << 20)
    small = min(8192, max(1, size // files))
    large = max(small, (size - files * small) // max(1, files // 10))
    for i in range(files):
        d = "%s/%02d/%02d" % (root, i % 100, i // 100 % 10)
        os.makedirs(d, exist_ok=True)
        p = "%s/upload-%06d.bin" % (d, i)
        left = rnd.randrange(2 * (large if i % 10 == 0 else small))
        with open(p, "wb") as f:
            f.write(b"%d\n" % i)
            while left > 0:
                f.write(block[:left])
                left -= len(block)
        os.chmod(p, rnd.choice((0o644, 0o600, 0o664)))
        os.chown(p, rnd.choice((0, 33)), 33)
        os.utime(p, ns=(10**18 + i, 10**18 + i * 1000003))
        if i % 50 == 0:
            os.symlink("upload-%06d.bin" % i, p + ".link")


def line(root, path):
    full = os.path.join(root, path)
    st = os.lstat(full)
    kind, rest = stat.S_IFMT(st.st_mode), "- -"
    if stat.S_ISLNK(st.st_mode):
        rest = os.readlink(full)
    elif stat.S_ISREG(st.st_mode):
        h = hashlib.sha256()
        with open(full, "rb") as f:
            while b := f.read(1 << 20):
                h.update(b)
        rest = "%d %d %s" % (st.st_size, st.st_mtime_ns, h.hexdigest())
    return "%o %o %d:%d %s %s" % (kind, stat.S_IMODE(st.st_mode), st.st_uid,
                                  st.st_gid, path, rest)


def show(root, out):
    paths = []
    for d, dirs, files in os.walk(root):
        dirs[:] = [x for x in dirs
                   if os.path.relpath(os.path.join(d, x), root) not in out]
        paths += [os.path.relpath(os.path.join(d, x), root)
                  for x in dirs + files]
    with ThreadPoolExecutor(16) as pool:
        for text in pool.map(lambda p: line(root, p), sorted(paths)):
            print(text)


if sys.argv[1] == "make":
    make(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    show(sys.argv[2], sys.argv[3:])
