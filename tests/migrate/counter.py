# SPDX-License-Identifier: MIT
# Counts in a file below a directory, in two ways, and looks each time whether
# the file has what it wrote last: whoever is handed an older state stops and
# says so.
#   counter.py DIR CONTROL NAME
# It begins with CONTROL/NAME and ends when CONTROL/stop is there.
import os, sys, time

root, control, name = sys.argv[1:]
path = os.path.join(root, "counter-" + name)


def look(want):
    with open(path) as f:
        got, st = f.read(), os.fstat(f.fileno())
    if got == want:
        return
    time.sleep(1)
    with open(path) as f:
        later = f.read() == want
    sys.exit("counter %s: %r, not %r, in inode %d of %x:%x; a second later it "
             "was %s" % (name, got[-20:], want[-20:], st.st_ino,
                         os.major(st.st_dev), os.minor(st.st_dev),
                         "right" if later else "wrong"))


open(path, "w").close()
open(os.path.join(control, name), "w").close()
for i in range(1, 10**9):
    line = "%d\n" % i
    # Longer and shorter, so that neither can pass for the other.
    text = line * (1 + i % 7)
    if i % 2:
        with open(path + ".tmp", "w") as f:
            f.write(text)
            made = os.fstat(f.fileno())
        try:
            os.rename(path + ".tmp", path)
        except FileNotFoundError:
            sys.exit("counter %s: its %s.tmp, inode %d of %x, is not in %x" % (
                name, path, made.st_ino, made.st_dev, os.stat(root).st_dev))
    else:
        with open(path, "w") as f:
            f.write(text)
    look(text)
    if os.path.exists(os.path.join(control, "stop")):
        break
