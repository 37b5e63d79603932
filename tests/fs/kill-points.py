# SPDX-License-Identifier: MIT
"""Every operation once for each point at which the worker can be killed.

kill-points.py MOUNT LIST FAULTS POINT...: each answer is checked; what must be
in the store in the end goes to LIST, in cksum's form.  A point that no
operation has passed is an error.
"""
import os
import subprocess
import sys
import time
import traceback

root, out, faults = sys.argv[1:4]
points = sys.argv[4:]
hit = {}


def write(path, data, flags=0):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | flags, 0o644)
    try:
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def op_take(at):
    """A clean file that is open already becomes the writer's."""
    data = b'a' * 200000
    write(at('f'), data)
    reader = os.open(at('f'), os.O_RDONLY)
    assert os.pread(reader, 4, 0) == b'aaaa'
    arm()
    fd = os.open(at('f'), os.O_RDWR)
    assert os.pread(fd, 4, 0) == b'aaaa'
    os.pwrite(fd, b'b', 3)
    assert os.pread(reader, 5, 0) == b'aaaba', os.pread(reader, 5, 0)
    os.close(fd)
    os.close(reader)
    assert read(at('f')) == data[:3] + b'b' + data[4:]


def op_mkdir(at):
    os.mkdir(at('d'), 0o750)
    assert os.stat(at('d')).st_mode & 0o7777 == 0o750


def op_rmdir(at):
    os.mkdir(at('d'))
    arm()
    os.rmdir(at('d'))
    assert not os.path.lexists(at('d'))


def op_mkfifo(at):
    os.mkfifo(at('p'), 0o640)
    assert os.stat(at('p')).st_mode & 0o7777 == 0o640


def op_symlink(at):
    os.symlink('nowhere', at('l'))
    assert os.readlink(at('l')) == 'nowhere'


def op_link(at):
    write(at('one'), b'1')
    arm()
    try:
        os.link(at('one'), at('two'))
    except PermissionError:
        return
    assert read(at('two')) == b'1'


def op_create(at):
    write(at('f'), b'new')
    assert read(at('f')) == b'new', read(at('f'))
    assert os.stat(at('f')).st_mode & 0o7777 == 0o644


def op_excl(at):
    write(at('f'), b'first', os.O_EXCL)
    assert read(at('f')) == b'first'
    try:
        write(at('f'), b'second', os.O_EXCL)
        raise AssertionError('O_EXCL twice')
    except FileExistsError:
        pass


def op_unlink(at):
    write(at('f'), b'gone')
    arm()
    os.unlink(at('f'))
    assert not os.path.lexists(at('f'))


def op_times(at):
    write(at('f'), b'before')
    arm()
    fd = os.open(at('f'), os.O_WRONLY)
    os.pwrite(fd, b'after!', 0)
    os.utime(fd, (1000, 2000))
    os.close(fd)
    assert read(at('f')) == b'after!'
    assert os.stat(at('f')).st_mtime == 2000, os.stat(at('f')).st_mtime


def op_unlink_open(at):
    fd = os.open(at('f'), os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b'sent')
    os.fsync(fd)
    os.write(fd, b' and not')
    reader = os.open(at('f'), os.O_RDONLY)
    arm()
    os.unlink(at('f'))
    os.pwrite(fd, b'after', 20)
    want = b'sent and not' + bytes(8) + b'after'
    for n in fd, reader:
        assert os.pread(n, 100, 0) == want, os.pread(n, 100, 0)
        assert os.fstat(n).st_size == 25
    os.ftruncate(fd, 4)
    assert os.pread(reader, 100, 0) == b'sent'
    os.close(fd)
    os.close(reader)
    assert not os.path.lexists(at('f'))


def op_rename_over_open(at):
    write(at('new'), b'new')
    write(at('f'), b'old')
    fd = os.open(at('f'), os.O_RDWR)
    reader = os.open(at('f'), os.O_RDONLY)
    arm()
    os.rename(at('new'), at('f'))
    assert os.pread(reader, 100, 0) == b'old'
    os.pwrite(fd, b'er', 3)
    os.fsync(fd)
    assert os.pread(fd, 100, 0) == b'older'
    assert os.fstat(fd).st_size == 5
    os.close(fd)
    os.close(reader)
    assert read(at('f')) == b'new'


def op_rename(at):
    write(at('old'), b'moved')
    write(at('there'), b'replaced')
    arm()
    os.rename(at('old'), at('there'))
    assert not os.path.lexists(at('old'))
    assert read(at('there')) == b'moved'


def op_rename_open(at):
    """Of a file that has unsent bytes."""
    fd = os.open(at('old'), os.O_CREAT | os.O_WRONLY)
    os.write(fd, b'before ')
    arm()
    os.rename(at('old'), at('new'))
    os.write(fd, b'after')
    os.close(fd)
    assert read(at('new')) == b'before after', read(at('new'))
    assert not os.path.lexists(at('old'))


def op_rename_dir(at):
    os.mkdir(at('old'))
    write(at('old/f'), b'f')
    arm()
    os.rename(at('old'), at('new'))
    assert not os.path.lexists(at('old'))
    assert read(at('new/f')) == b'f'


def op_append(at):
    # O_APPEND is served by the worker, also with passthrough.
    fd = os.open(at('f'), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(fd, b'one,')
    arm()
    os.write(fd, b'two,')
    os.write(fd, b'three')
    os.close(fd)
    assert read(at('f')) == b'one,two,three', read(at('f'))


def op_append_sync(at):
    fd = os.open(at('f'), os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_SYNC)
    os.write(fd, b'one,')
    arm()
    os.write(fd, b'two,')
    os.write(fd, b'three')
    os.close(fd)
    assert read(at('f')) == b'one,two,three', read(at('f'))


def op_write(at):
    write(at('f'), b'a' * 100000)
    arm()
    fd = os.open(at('f'), os.O_RDWR)
    os.pwrite(fd, b'b', 50000)
    os.ftruncate(fd, 60000)
    os.fsync(fd)
    os.close(fd)
    assert read(at('f')) == b'a' * 50000 + b'b' + b'a' * 9999


def op_truncate(at):
    write(at('f'), b'a' * 1000)
    arm()
    os.truncate(at('f'), 10)
    assert read(at('f')) == b'a' * 10
    write(at('f'), b'xy', os.O_TRUNC)
    assert read(at('f')) == b'xy'


def op_xattr(at):
    write(at('f'), b'x')
    arm()
    try:
        os.setxattr(at('f'), 'user.a', b'1', os.XATTR_CREATE)
    except OSError as e:
        if e.errno == 95:
            return
        raise
    assert os.getxattr(at('f'), 'user.a') == b'1'
    os.removexattr(at('f'), 'user.a')
    assert os.listxattr(at('f')) == []


def op_chmod(at):
    write(at('f'), b'x')
    arm()
    os.chmod(at('f'), 0o600)
    os.utime(at('f'), (1000, 2000))
    st = os.stat(at('f'))
    assert st.st_mode & 0o7777 == 0o600 and st.st_mtime == 2000


def big(n):
    return os.urandom(1 << 20) * n


def op_large_new(at):
    data = big(17)
    fd = os.open(at('f'), os.O_CREAT | os.O_WRONLY)
    for i in range(0, len(data), 1 << 20):
        os.write(fd, data[i:i + (1 << 20)])
    os.close(fd)
    assert read(at('f')) == data


def op_large_change(at):
    data = bytearray(big(12))
    write(at('f'), data)
    arm()
    fd = os.open(at('f'), os.O_RDWR)
    os.pwrite(fd, b'changed', 6 << 20)
    data[6 << 20:(6 << 20) + 7] = b'changed'
    os.fsync(fd)
    os.close(fd)
    assert read(at('f')) == data


TRIES = 100
ops = [(n[3:], f) for n, f in sorted(globals().items()) if n.startswith('op_')]
armed = None


# The operations that pass these points, the others are not tried; without
# POINTS= it is the first one only.
ONLY = {
    'publish.': ('create',),
    'rekey.': ('rename',),
    'take.': ('take',),
    'table.handle-': ('create', 'excl'),
    'table.name-gone': ('unlink', 'rmdir'),
    'table.node-filled': ('mkdir', 'create'),
    'table.node-made': ('mkdir', 'create'),
    'table.node-forgotten': ('unlink', 'rmdir'),
    'table.node-gone': ('unlink', 'rmdir'),
    'table.mov': ('rename', 'rename_dir', 'rename_open', 'rename_over_open'),
    'table.op-': ('mkdir', 'rename', 'append', 'unlink'),
}
# Passed behind the call, or not by each: again until it was.
LATER = ('publish.', 'rekey.', 'take.', 'table.handle-gone', 'table.node-gone',
         'table.node-forgotten')


def belongs(name, point):
    for prefix, names in ONLY.items():
        if point.startswith(prefix):
            return name in names
    return name != 'take' and name.startswith('large') == is_upload(point)


def enough(point):
    if point.startswith(tuple(ONLY)) and 'POINTS' not in os.environ:
        return 1
    return 2 if 'SHAREDFS_QUICK' in os.environ else len(ops)


def is_upload(point):
    return point.startswith(('s3.upload', 's3.part'))


def is_abort(point):
    """What the next worker does with an upload that it finds."""
    return point.startswith('s3.upload-abort')


def passed():
    """Some is done in the background."""
    end = time.monotonic() + (60 if is_abort(point) else
                              0.1 if point.startswith(LATER) else 0)
    while os.path.exists(armed) and time.monotonic() < end:
        time.sleep(0.05)
    return not os.path.exists(armed)


def arm():
    """From here on: what comes before in an operation only prepares it."""
    global armed
    armed = os.path.join(faults, point)
    open(armed, 'w').close()
    if is_abort(point):
        open(os.path.join(faults, 's3.upload-begun'), 'w').close()


def one(name, op, base):
    """Returns how many mistakes were seen."""
    os.mkdir(base)
    if 'arm' not in op.__code__.co_names:
        arm()
    try:
        op(lambda n: os.path.join(base, n))
    except Exception:
        print('%s, killed at %s:' % (name, point), file=sys.stderr)
        traceback.print_exc()
        return 1
    return 0


bad = 0
for point in points:
    for name, op in ops:
        if hit.get(point, 0) == enough(point):
            break
        if not belongs(name, point):
            continue
        for n in range(TRIES if point.startswith(LATER) else 1):
            bad += one(name, op, os.path.join(
                root, '%s-%s-%d' % (name, point, n)))
            if passed():
                break
        if passed():
            hit[point] = hit.get(point, 0) + 1
        else:
            os.unlink(armed)
missed = [p for p in points if p not in hit]
if missed:
    print('never passed: ' + ' '.join(missed), file=sys.stderr)
    bad += 1
print('killed %d times' % sum(hit.values()))
with open(out, 'wb') as f:
    f.write(subprocess.check_output(
        'find . -type f | sort | xargs cksum', shell=True, cwd=root))
sys.exit(bad != 0)
