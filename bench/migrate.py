# SPDX-License-Identifier: MIT
"""migrate-local-uploads beside `rclone copy`: how fast a tree of the local disk
gets into a bucket, and what a program that writes to that disk feels of it."""
import os
import resource
import shutil
import signal
import subprocess
import time

from mounts import rclone_env
from store import Proxy

FILES = 2000
SMALL = 16384
PART = 16 << 20  # of the transfers by curl
PARALLEL = 8
AT_A_TIME = 32
PAUSE_MS = 10    # of the program, between two writes
REST = 4         # seconds that it is watched with nothing beside it

WHOSE = ", CPU of the program", ", CPU of the store" # if it is ours
FEELS = "a program's write, fsync and rename of 16 KiB, median"
FEELS_99 = "a program's write, fsync and rename of 16 KiB, 99th of 100"


def make_small(root, files):
    for i in range(files):
        d = "%s/%02d" % (root, i % 20)
        os.makedirs(d, exist_ok=True)
        with open("%s/upload-%05d" % (d, i), "wb") as f:
            f.write(os.urandom(SMALL))


def make_large(root, parts, mib):
    """One file, and the same bytes in parts for curl, whose names it returns."""
    os.makedirs(root)
    os.makedirs(parts)
    names = []
    with open(root + "/large", "wb") as f:
        for at in range(0, mib << 20, PART):
            data = os.urandom(min(PART, (mib << 20) - at))
            f.write(data)
            names.append("%s/%05d" % (parts, len(names)))
            with open(names[-1], "wb") as p:
                p.write(data)
    return names


class Program:
    """bench/load.c: writes and renames a small file again and again, as an
    upload does, and keeps how long each took."""

    def __init__(self, load, where):
        os.makedirs(where, exist_ok=True)
        self.process = subprocess.Popen(
            [load, "upload", where, str(SMALL), str(PAUSE_MS)],
            stdout=subprocess.PIPE)
        self.process.stdout.readline() # it has begun

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate()
        got = dict(line.split() for line in out.decode().splitlines())
        self.median, self.high = float(got["p50_us"]), float(got["p99_us"])


def cpu_of(processes):
    """Seconds that each has used."""
    ticks = 0
    for pid in processes:
        with open("/proc/%d/stat" % pid) as f:
            v = f.read().rsplit(")", 1)[1].split()
        ticks += int(v[11]) + int(v[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_of_children():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


class StoreApart:
    """The server and its proxy on the last core, all else on the others: a
    store is another machine, and does not take a program's core from it."""

    def __init__(self, processes):
        self.cores = sorted(os.sched_getaffinity(0))
        self.processes = processes if len(self.cores) > 1 else []

    def put(self, processes, cores):
        for pid in processes:
            for thread in os.listdir("/proc/%d/task" % pid):
                try:
                    os.sched_setaffinity(int(thread), cores)
                except ProcessLookupError:
                    pass # it has ended

    def __enter__(self):
        if self.processes:
            self.put(self.processes, self.cores[-1:])
            self.put([os.getpid()], self.cores[:-1])

    def __exit__(self, *_):
        self.put(self.processes + [os.getpid()], self.cores)


class Migrations:
    def __init__(self, b):
        self.b, self.n = b, 0
        self.work = b.work + "/migrate"
        self.proxy = Proxy(b.build, b.work, "migrate", b.server.address)
        make_small(self.work + "/small", FILES if not b.args.quick else 50)
        self.parts = make_large(self.work + "/large", self.work + "/parts",
                                b.args.size)
        self.files = sum(len(f) for _, _, f in os.walk(self.work + "/small"))

    # --- one copy, to self.to

    def own(self, tree, *more):
        state = "%s/state-%d" % (self.work, self.n)
        subprocess.run(
            [self.b.build + "/migrate-local-uploads", tree,
             "s3://%s/%s" % (self.b.bucket, self.to), "--state=" + state,
             "--progress=none", "-o",
             "endpoint=%s,region=us-east-1,path_style" % self.proxy.url,
             *more], check=True, stdout=subprocess.DEVNULL)

    def rclone(self, tree, *more):
        subprocess.run(["rclone", "copy", tree,
                        "r:%s/%s" % (self.b.bucket, self.to),
                        "--s3-no-check-bucket", *more], check=True,
                       env=rclone_env(self.proxy.url))

    def curl_small(self, tree):
        """The requests alone; seconds without curl's own start."""
        return self.b.curl.put_many(
            ["%s/%d" % (self.to, i) for i in range(self.files)],
            tree + "/00/upload-00000", AT_A_TIME)

    def curl_large(self, tree, *signed):
        return self.b.curl.put_big(self.to + "/large", self.parts, PARALLEL,
                                   bool(signed))

    def nothing(self, tree):
        time.sleep(REST)

    def copy(self, how, tree, *more, beside=None):
        """Seconds, and those of CPU that the program and the store used; what
        was copied goes away again."""
        self.n += 1
        self.to = "copied-%d" % self.n
        store = self.b.server.processes()
        used = [cpu_of_children(), cpu_of(store)]
        began = time.monotonic()
        took = how(tree, *more) or time.monotonic() - began
        used = [cpu_of_children() - used[0], cpu_of(store) - used[1]]
        used = used if store else used[:1]
        if beside:
            beside.stop()
        if how != self.nothing:
            subprocess.run(["rclone", "purge", "--checkers", "32",
                            "r:%s/%s" % (self.b.bucket, self.to)], check=True,
                           env=rclone_env(self.b.server.endpoint))
            self.b.server.collect()
        return took, used

    # --- the rows

    def small(self, order):
        r, rtt = self.b.results, self.b.rtt
        for name, how, more in order([
                ("migrate", self.own, []),
                ("migrate --throttle=off", self.own, ["--throttle=off"]),
                ("rclone copy", self.rclone, []),
                ("rclone copy, 32 at a time", self.rclone,
                 ["--transfers", "32", "--checkers", "32"]),
                ("curl, PUT, 32 at a time", self.curl_small, [])]):
            took, used = self.copy(how, self.work + "/small", *more)
            what = "copy %d files of 16 KiB" % self.files
            r.add(what, rtt, name, "/s", self.files / took)
            for who, seconds in zip(WHOSE, used):
                r.add(what + who, rtt, name, "us a file",
                      seconds * 1e6 / self.files)

    def large(self, order):
        r, rtt, size = self.b.results, self.b.rtt, self.b.args.size
        for name, how, more in order([
                ("migrate", self.own, []),
                ("migrate --throttle=off", self.own, ["--throttle=off"]),
                ("rclone copy", self.rclone, []),
                ("curl", self.curl_large, []),
                ("curl, signed", self.curl_large, ["signed"])]):
            took, used = self.copy(how, self.work + "/large", *more)
            what = "copy a large file"
            r.add(what, rtt, name, "MB/s", size * 1.048576 / took)
            for who, seconds in zip(WHOSE, used):
                r.add(what + who, rtt, name, "ms a GiB",
                      seconds * 1e3 * 1024 / size)

    def feels(self, order):
        """A program that writes to the disk that is read."""
        r, rtt = self.b.results, self.b.rtt
        for name, how, more in order([
                ("nothing beside it", self.nothing, []),
                ("migrate beside it", self.own, []),
                ("migrate --throttle=off beside it", self.own,
                 ["--throttle=off"]),
                ("rclone copy beside it", self.rclone, [])]):
            with StoreApart(self.b.server.processes() +
                            [self.proxy.process.pid]):
                program = Program(self.b.build + "/bench/bin/load",
                                  self.work + "/program")
                self.copy(how, self.work + "/small", *more, beside=program)
            r.add(FEELS, rtt, name, "us", program.median)
            r.add(FEELS_99, rtt, name, "us", program.high)

    def run(self):
        self.proxy.delay(self.b.rtt)
        for n in range(self.b.args.migrate_rounds):
            # In every other round from the last to the first.
            order = list if n % 2 == 0 else lambda v: list(reversed(v))
            self.small(order)
            if self.b.rtt == self.b.args.rtt[0]:
                self.feels(order)
        # The memory that the server takes for the first time is dear.
        self.copy(self.curl_large, None)
        for n in range(self.b.args.big_rounds):
            self.large(list if n % 2 == 0 else lambda v: list(reversed(v)))

    def stop(self):
        self.proxy.stop()
        shutil.rmtree(self.work)
