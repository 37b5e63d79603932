# SPDX-License-Identifier: MIT
# An application that goes on writing below a directory: creates, appends,
# replaces, renames, removes and changes modes, all the time, until a file
# `stop` appears in the second directory; then it writes there what it believes
# to be below the first one: "mode size sha256 path".
#   writer.py DIR CONTROL SEED
# WRITER_PAUSE: seconds between two operations.
# A name that is not there for a moment is tried again and counted; any other
# error is told and ends it.
import hashlib, os, random, sys, time

root, control, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
pause = float(os.environ.get("WRITER_PAUSE", 0.002))
rnd = random.Random(seed)
top = "writer-%d" % seed
files = {}      # path -> (bytes, mode)
again = ops = serial = 0
worst = 0.0


def full(p):
    return os.path.join(root, p)


def do(fn, *args):
    """fn(*args), again while the directory itself is not there."""
    global again
    for n in range(200):
        try:
            return fn(*args)
        except FileNotFoundError:
            again += 1
            time.sleep(0.01)
    return fn(*args)


def write(p, mode, data):
    # Not "open for appending or create": the file must be there.
    flags = os.O_WRONLY | (os.O_APPEND if mode == "a" else
                           os.O_CREAT | os.O_TRUNC)
    fd = os.open(full(p), flags, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def new_name():
    global serial
    serial += 1
    return "%s/d%d/file-%d" % (top, rnd.randrange(4), serial)


def step():
    what = rnd.randrange(10)
    if what < 4 or len(files) < 5:
        p, data = new_name(), rnd.randbytes(rnd.choice((0, 10, 3000, 70000)))
        if rnd.randrange(2):
            do(write, p + ".tmp", "w", data)
            do(os.rename, full(p + ".tmp"), full(p))
        else:
            do(write, p, "w", data)
        files[p] = (data, 0o644)
        return
    p = rnd.choice(list(files))
    data, mode = files[p]
    if what < 6:
        more = rnd.randbytes(500)
        do(write, p, "a", more)
        files[p] = (data + more, mode)
    elif what == 6:
        more = rnd.randbytes(1000)
        do(write, p, "w", more)
        files[p] = (more, mode)
    elif what == 7:
        q = new_name()
        do(os.rename, full(p), full(q))
        files[q] = files.pop(p)
    elif what == 8:
        do(os.unlink, full(p))
        del files[p]
    else:
        mode = rnd.choice((0o600, 0o640, 0o644))
        do(os.chmod, full(p), mode)
        files[p] = (data, mode)


for i in range(4):
    os.makedirs(full("%s/d%d" % (top, i)), exist_ok=True)
os.umask(0o022)
try:
    while not os.path.exists(os.path.join(control, "stop")):
        began = time.monotonic()
        step()
        worst = max(worst, time.monotonic() - began)
        ops += 1
        time.sleep(pause)
except OSError as e:
    print("writer: %s" % e, flush=True)
    open(os.path.join(control, "failed"), "w").close()
with open(os.path.join(control, "model"), "w") as f:
    for p in sorted(files):
        data, mode = files[p]
        f.write("%o %d %s %s\n" % (mode, len(data),
                                   hashlib.sha256(data).hexdigest(), p))
print("writer: %d operations, %d names tried again, the longest %.0f ms" %
      (ops, again, worst * 1000), flush=True)
