# SPDX-License-Identifier: MIT
"""The same random calls on a directory of the local disk and on the mount:
every answer, errno and attribute must be the same.

beside.py LOCAL MOUNT file|s3 SEED OPS

Left out is what docs/semantics.md states otherwise: devices, set-id bits of
files, sizes and link counts of directories, files that are written while they
have several names, and on s3 hard links and the times of directories.
"""
import ctypes
import errno
import os
import random
import stat
import sys

local, mount, store, seed, ops = sys.argv[1:6]
roots = [local, mount]
rnd = random.Random(int(seed))
libc = ctypes.CDLL(None, use_errno=True)
OLD = 1_200_000_000_000_000_000
NAMES = ['a', 'b', 'c', 'dir', 'ünï', 'n' * 255]

USERS = [(0, 0, []), (65534, 65534, []), (1000, 1000, [1000, 2000]),
         (1001, 2000, [2000])]
log = []
fds = [{}, {}]          # handle number -> descriptor, on each side
next_handle = 0


def become(user):
    uid, gid, groups = user
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


def root_again():
    os.seteuid(0)
    os.setegid(0)
    os.setgroups([])


def some_path():
    depth = rnd.choice([1, 1, 2, 2, 2, 3])
    return '/'.join(rnd.choice(NAMES) for _ in range(depth))


def known_path():
    """Most often one that exists."""
    if rnd.random() < 0.25:
        return some_path()
    found = []
    for at, dirs, files in os.walk(local):
        for n in dirs + files:
            found.append(os.path.relpath(os.path.join(at, n), local))
    return rnd.choice(sorted(found)) if found else some_path()


def links(path):
    try:
        return os.stat(os.path.join(local, path)).st_nlink
    except OSError:
        return 0


def when(ns):
    return ns if ns < 1_500_000_000_000_000_000 else 'now'


def shape(st):
    mode = st.st_mode
    out = {'mode': oct(mode), 'uid': st.st_uid, 'gid': st.st_gid,
           'mtime': when(st.st_mtime_ns)}
    if not stat.S_ISDIR(mode):
        out['mode'] = oct(mode & ~0o6000)
    if stat.S_ISREG(mode):
        out['size'] = st.st_size
    if stat.S_ISLNK(mode):
        out['size'] = st.st_size
    if stat.S_ISDIR(mode):
        if store == 's3':
            del out['mtime']
    elif store == 'file':
        out['nlink'] = st.st_nlink
    return out


def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


def pick():
    """A call: words for the log, and what to do on a side."""
    global next_handle
    p, q = known_path(), known_path()
    new = some_path()
    mode = rnd.choice([0o644, 0o600, 0o755, 0o777, 0o000, 0o444, 0o1777,
                       0o2775, 0o705, 0o070])
    size = rnd.choice([0, 1, 100, 4096, 5000, 200000])
    off = rnd.choice([0, 0, 3, 4095, 70000])
    data = rnd.randbytes(rnd.choice([1, 10, 4096, 9000]))
    kind = rnd.choice(
        ['open'] * 8 + ['close'] * 6 + ['write'] * 8 + ['read'] * 6 +
        ['stat'] * 6 + ['fstat'] * 3 + ['mkdir'] * 4 + ['rmdir'] * 2 +
        ['unlink'] * 3 + ['rename'] * 6 + ['symlink'] * 2 + ['readlink'] +
        ['chmod'] * 3 + ['fchmod'] + ['chown'] * 2 + ['utime'] * 3 +
        ['truncate'] * 2 + ['ftruncate'] * 2 + ['listdir'] * 3 +
        ['access'] * 2 + ['link'] * 2 + ['mkfifo'] + ['xset'] * 2 +
        ['xget'] + ['xlist'] + ['xdel'] + ['fsync'] + ['whole'] * 3)
    h = rnd.choice(sorted(fds[0])) if fds[0] else -1

    def at(i, path):
        return os.path.join(roots[i], path)

    if kind == 'open':
        flags = rnd.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR])
        for f, chance in ((os.O_CREAT, .5), (os.O_EXCL, .1), (os.O_TRUNC, .2),
                          (os.O_APPEND, .15), (os.O_DIRECTORY, .05),
                          (os.O_NOFOLLOW, .1)):
            if rnd.random() < chance:
                flags |= f
        # What O_CREAT with O_DIRECTORY does depends on the kernel.
        if flags & os.O_DIRECTORY:
            flags &= ~os.O_CREAT
        path = p if rnd.random() < .6 else new
        if links(path) > 1:
            flags &= ~(os.O_ACCMODE | os.O_TRUNC)   # [O.12]
        mine = next_handle
        next_handle += 1
        mode &= 0o1777

        def do(i):
            fd = os.open(at(i, path), flags | os.O_NONBLOCK, mode)
            st = os.fstat(fd)
            if stat.S_ISREG(st.st_mode):
                fds[i][mine] = fd
            else:
                os.close(fd)
            return shape(st)
        return f'open {path} {flags:#o} {mode:#o} -> {mine}', do
    if kind in ('close', 'write', 'read', 'fstat', 'fchmod', 'ftruncate',
                'fsync'):
        def do(i):
            if h not in fds[i]:
                return None
            fd = fds[i][h]
            if kind == 'close':
                del fds[i][h]
                return os.close(fd)
            if kind == 'write':
                return os.pwrite(fd, data, off)
            if kind == 'read':
                return os.pread(fd, 8192, off)
            if kind == 'fstat':
                return shape(os.fstat(fd))
            if kind == 'fchmod':
                return os.fchmod(fd, mode)
            if kind == 'ftruncate':
                return os.ftruncate(fd, size)
            return os.fsync(fd)
        return f'{kind} handle {h} {off} {len(data)} {size} {mode:#o}', do
    simple = {
        'stat': lambda i: shape(os.lstat(at(i, p))),
        'mkdir': lambda i: os.mkdir(at(i, new), mode),
        'rmdir': lambda i: os.rmdir(at(i, p)),
        'unlink': lambda i: os.unlink(at(i, p)),
        'symlink': lambda i: os.symlink(q, at(i, new)),
        'readlink': lambda i: os.readlink(at(i, p)),
        'chmod': lambda i: os.chmod(at(i, p), mode),
        'truncate': lambda i: os.truncate(at(i, p), size),
        'listdir': lambda i: sorted(os.listdir(at(i, p))),
        'mkfifo': lambda i: os.mkfifo(at(i, new), mode & 0o777),
        'xset': lambda i: os.setxattr(at(i, p), 'user.x%d' % (size % 3),
                                      data[:100]),
        'xget': lambda i: os.getxattr(at(i, p), 'user.x%d' % (size % 3)),
        'xdel': lambda i: os.removexattr(at(i, p), 'user.x%d' % (size % 3)),
        'xlist': lambda i: sorted(os.listxattr(at(i, p))),
    }
    if kind in simple:
        return (f'{kind} {p} new={new} q={q} {mode:#o} {size} {len(data)}',
                simple[kind])
    if kind == 'whole':
        def do(i):
            fd = os.open(at(i, p), os.O_RDONLY | os.O_NONBLOCK)
            try:
                return os.read(fd, 1 << 20)
            finally:
                os.close(fd)
        return f'whole {p}', do
    if kind == 'rename':
        flags = rnd.choice([0, 0, 0, 0, 1, 2 if store == 'file' else 0])
        to = q if rnd.random() < .5 else new
        return (f'rename {p} {to} {flags}',
                lambda i: renameat2(at(i, p), at(i, to), flags))
    if kind == 'link':
        if store == 's3' or fds[0]:
            return 'no link', lambda i: None
        return (f'link {p} {new}',
                lambda i: os.link(at(i, p), at(i, new),
                                  follow_symlinks=False))
    if kind == 'chown':
        u = rnd.choice([-1, 0, 1000, 65534])
        g = rnd.choice([-1, 0, 1000, 2000, 65534])
        return (f'chown {p} {u} {g}', lambda i: os.lchown(at(i, p), u, g))
    if kind == 'utime':
        t = OLD + rnd.randrange(10 ** 12)
        how = rnd.choice([(t, t), (t, t), None])
        return (f'utime {p} {how}',
                lambda i: os.utime(at(i, p), ns=how, follow_symlinks=False)
                if how else os.utime(at(i, p)))
    way = rnd.choice([os.R_OK, os.W_OK, os.X_OK, os.F_OK])
    return (f'access {p} {way}',
            lambda i: os.access(at(i, p), way, effective_ids=True))


def answer(do, i):
    try:
        return do(i)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)


def tree(i):
    out = {}
    for at, dirs, files in os.walk(roots[i]):
        for n in dirs + files:
            path = os.path.join(at, n)
            out[os.path.relpath(path, roots[i])] = shape(os.lstat(path))
    return out


def differ(words, a, b):
    for line in log[-40:]:
        print(line.replace(NAMES[-1], 'N'))
    print(f'seed {seed}: {words}\n  local: {str(a)[:300]}\n  mount: {str(b)[:300]}')
    sys.exit(1)


os.umask(0)
for n in range(int(ops)):
    user = rnd.choice([USERS[0]] * 3 + USERS)
    words, do = pick()
    if store == 'file' and words.startswith(('open', 'ftruncate')):
        user = USERS[0]     # [O.11], [O.13]: not everybody's right
    got = []
    for i in (0, 1):
        become(user)
        try:
            got.append(answer(do, i))
        finally:
            root_again()
    log.append(f'{n} uid {user[0]}: {words} = {str(got[0])[:80]}')
    if got[0] != got[1]:
        differ(words, got[0], got[1])
    if n % 50 == 49:
        a, b = tree(0), tree(1)
        for path in sorted(set(a) | set(b)):
            if a.get(path) != b.get(path):
                differ(f'tree {path}', a.get(path), b.get(path))
print(f'{ops} calls the same')
