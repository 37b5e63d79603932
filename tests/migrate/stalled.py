# SPDX-License-Identifier: MIT
# A call that has found its directory, and doesn't get on for a while:
#   stalled.py DIR SUB RESULT
# Lists DIR/SUB into memory whose page comes only a second after something else
# has taken DIR's place; the directory's lock is held so long.  Meanwhile a
# program wants to make a file there, to write it and to rename it; RESULT says
# what became of that.  Returns when it waits for the lock.
#   stalled.py          fails, with words, where that can't be done
import ctypes, fcntl, mmap, os, platform, struct, sys, threading, time

SYSCALL = {"x86_64": (323, 217), "aarch64": (282, 61)}
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
STALL = 1.0

libc = ctypes.CDLL(None, use_errno=True)
if platform.machine() not in SYSCALL:
    sys.exit("the numbers of system calls of %s are not known" %
             platform.machine())
userfaultfd, getdents64 = SYSCALL[platform.machine()]


def missing_page():
    fd = libc.syscall(userfaultfd, os.O_CLOEXEC)
    if fd < 0:
        sys.exit("userfaultfd: " + os.strerror(ctypes.get_errno()))
    fcntl.ioctl(fd, UFFDIO_API, struct.pack("QQQ", 0xAA, 0, 0))
    page = mmap.mmap(-1, mmap.PAGESIZE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    span = struct.pack("QQQQ", at, mmap.PAGESIZE, 1, 0)
    fcntl.ioctl(fd, UFFDIO_REGISTER, span)
    return fd, at, page


def application():
    try:
        name = os.path.join(where, "new")
        with open(name + ".tmp", "w") as f:
            f.write("all of it\n")
        os.rename(name + ".tmp", name)
        said = "ok"
    except OSError as e:
        said = str(e)
    with open(result + ".tmp", "w") as f:
        f.write(said + "\n")
    os.rename(result + ".tmp", result)
    os._exit(0)


def state(pid):
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def hold(ready):
    link = "/proc/self/fd/%d" % os.open(root, os.O_PATH)
    place = os.readlink(link)
    fd, at, page = missing_page()
    listed = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    t = threading.Thread(target=libc.syscall,
                         args=(getdents64, listed, ctypes.c_void_p(at),
                               mmap.PAGESIZE), daemon=True)
    t.start()
    os.read(fd, 32)  # the kernel wants the page, and has the lock
    app = os.fork()
    if app == 0:
        application()
    while state(app) != "D":
        time.sleep(0.001)
    os.write(ready, b"r")
    os.close(ready)
    # Asked by its path it would wait, too.
    while os.readlink(link) == place:
        time.sleep(0.001)
    time.sleep(STALL)
    fcntl.ioctl(fd, UFFDIO_ZEROPAGE,
                struct.pack("QQQq", at, mmap.PAGESIZE, 0, 0))
    os.waitpid(app, 0)
    os._exit(0)


if len(sys.argv) == 1:
    missing_page()
    sys.exit()
root, sub, result = sys.argv[1:]
where = os.path.join(root, sub)
r, w = os.pipe()
if os.fork() == 0:
    os.close(r)
    os.dup2(os.open("/dev/null", os.O_RDWR), 1)
    hold(w)
os.close(w)
sys.exit(os.read(r, 1) != b"r")
