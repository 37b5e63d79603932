# SPDX-License-Identifier: MIT
"""migrate-local-uploads beside `rclone copy`: how fast a tree of the local disk
gets into a bucket, and what a program that writes to that disk feels of it."""
import os
import shutil
import statistics
import subprocess
import threading
import time

from mounts import rclone_env
from store import Proxy

FILES = 2000
SMALL = 16384
PAUSE = 0.02  # of the program, between two writes
REST = 5      # seconds that it is watched with nothing beside it

FEELS = "a program's write of 16 KiB, median"
FEELS_90 = "a program's write of 16 KiB, 90th of 100"


def make_small(root, files):
    for i in range(files):
        d = "%s/%02d" % (root, i % 20)
        os.makedirs(d, exist_ok=True)
        with open("%s/upload-%05d" % (d, i), "wb") as f:
            f.write(os.urandom(SMALL))


def make_large(root, mib):
    os.makedirs(root)
    with open(root + "/large", "wb") as f:
        for _ in range(mib):
            f.write(os.urandom(1 << 20))


class Program(threading.Thread):
    """Writes and renames a small file again and again, as an upload does, and
    keeps how long each took."""

    def __init__(self, where):
        threading.Thread.__init__(self)
        self.where, self.data = where, os.urandom(SMALL)
        self.took, self.end = [], threading.Event()
        os.makedirs(where, exist_ok=True)

    def run(self):
        i = 0
        while not self.end.wait(PAUSE):
            name = "%s/%d" % (self.where, i % 500)
            began = time.monotonic()
            with open(name + ".tmp", "wb", buffering=0) as f:
                f.write(self.data)
            os.rename(name + ".tmp", name)
            self.took.append(time.monotonic() - began)
            i += 1

    def stop(self):
        self.end.set()
        self.join()

    def felt(self):
        """The median and the 90th of 100, us."""
        v = sorted(self.took)
        return statistics.median(v) * 1e6, v[len(v) * 9 // 10] * 1e6


class Migrations:
    def __init__(self, b):
        self.b, self.n = b, 0
        self.work = b.work + "/migrate"
        self.proxy = Proxy(b.build, b.work, "migrate", b.server.address)
        make_small(self.work + "/small", FILES if not b.args.quick else 50)
        make_large(self.work + "/large", b.args.size)
        self.files = sum(len(f) for _, _, f in os.walk(self.work + "/small"))

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

    def copy(self, how, tree, *more, beside=None):
        """Seconds; what was copied goes away again."""
        self.n += 1
        self.to = "copied-%d" % self.n
        if beside:
            beside.start()
        began = time.monotonic()
        how(tree, *more)
        took = time.monotonic() - began
        if beside:
            beside.stop()
        subprocess.run(["rclone", "purge",
                        "r:%s/%s" % (self.b.bucket, self.to)], check=True,
                       env=rclone_env(self.b.server.endpoint))
        self.b.server.collect()
        return took

    def small(self):
        r, rtt = self.b.results, self.b.rtt
        for name, how, more in (
                ("migrate", self.own, []),
                ("migrate --throttle=off", self.own, ["--throttle=off"]),
                ("rclone copy", self.rclone, []),
                ("rclone copy, 32 at a time", self.rclone,
                 ["--transfers", "32", "--checkers", "32"])):
            took = self.copy(how, self.work + "/small", *more)
            r.add("copy %d files of 16 KiB" % self.files, rtt, name, "/s",
                  self.files / took)

    def large(self):
        r, rtt, size = self.b.results, self.b.rtt, self.b.args.size
        what = "copy a large file"
        for name, how, more in (
                ("migrate", self.own, []),
                ("migrate --throttle=off", self.own, ["--throttle=off"]),
                ("rclone copy", self.rclone, [])):
            took = self.copy(how, self.work + "/large", *more)
            r.add(what, rtt, name, "MB/s", size * 1.048576 / took)
        r.add(what, rtt, "curl", "MB/s",
              size * 1.048576 / self.b.curl_write("copied-by-curl"))

    def feels(self):
        """A program that writes to the disk that is read."""
        for name, how, more in (
                ("nothing beside it", lambda tree: time.sleep(REST), []),
                ("migrate beside it", self.own, []),
                ("migrate --throttle=off beside it", self.own,
                 ["--throttle=off"]),
                ("rclone copy beside it", self.rclone, [])):
            program = Program(self.work + "/program")
            self.copy(how, self.work + "/small", *more, beside=program)
            median, high = program.felt()
            self.b.results.add(FEELS, self.b.rtt, name, "us", median)
            self.b.results.add(FEELS_90, self.b.rtt, name, "us", high)

    def run(self):
        self.proxy.delay(self.b.rtt)
        for _ in range(self.b.args.rounds):
            self.small()
            self.feels()
        for _ in range(self.b.args.big_rounds):
            self.large()

    def stop(self):
        self.proxy.stop()
        shutil.rmtree(self.work)
