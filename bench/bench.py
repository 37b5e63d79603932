# SPDX-License-Identifier: MIT
"""The workloads of bench/run, which starts this; see README.md."""
import argparse
import datetime
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import report
import targets
from migrate import Migrations
from mounts import Floor, Plain, Rclone, S3fs, Sharedfs
from raw import Raw
from store import Curl, Proxy, Server
from web import serve

SMALL = 16384
FILES = 100       # small files that are read again and again
PART = 16 << 20   # of the transfers by curl
PARALLEL = 8


def arguments():
    p = argparse.ArgumentParser(prog="bench/run", add_help=False)
    p.add_argument("--rtt", default="0,20")
    p.add_argument("--peers", default=None)
    p.add_argument("--store", choices=["s3", "file"], default="s3")
    p.add_argument("--rounds", type=int)
    p.add_argument("--big-rounds", type=int, default=1)
    p.add_argument("--seconds", type=float, default=1.0)
    p.add_argument("--size", type=int, default=1024)
    p.add_argument("--entries", type=int, default=10000)
    p.add_argument("--only", default="local,small,list,big,nginx")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--out", default=None)
    p.add_argument("--build")
    a = p.parse_args()
    if a.quick:
        a.rounds, a.seconds, a.size, a.entries = 1, 0.2, 32, 50
    a.migrate_rounds = a.rounds or 2
    a.rounds = a.rounds or 3
    if a.peers is None:
        a.peers = "s3fs,rclone" if a.store == "s3" else ""
    a.peers = [x for x in a.peers.split(",") if x]
    a.only = a.only.split(",")
    a.rtt = [int(x) for x in a.rtt.split(",")] if a.store == "s3" else [0]
    return a


class Bench:
    def __init__(self, args):
        self.args = args
        self.src = os.environ["BENCH_SRC"]
        self.build = os.environ["BENCH_BUILD"]
        self.work = tempfile.mkdtemp(prefix="sharedfs-bench-",
                                     dir=os.environ.get("TMPDIR", "/tmp"))
        self.results = report.Results()
        self.server = self.curl = self.migrations = None
        self.all, self.raw = [], []
        self.bucket = "bench-" + os.path.basename(self.work).lower()[-8:]
        self.bucket = self.bucket.replace("_", "x")
        self.rtt = 0
        self.runs = 0

    # --- life

    def start(self):
        a = self.args
        say("starting")
        if a.store == "s3":
            self.server = Server(self.src, self.work)
            self.server.bucket(self.bucket)
            self.curl_proxy = Proxy(self.build, self.work, "curl",
                                    self.server.address)
            self.curl = Curl(self.src, self.work, self.curl_proxy.url,
                             self.bucket)
            self.raw = [Raw(name, self.curl, self.work + "/small", loads)
                        for name, loads in targets.RAW.items()]
        self.plain = Plain(self)
        self.default = Sharedfs(self)
        self.nocto = Sharedfs(self, "nocto,actimeo=60")
        self.fresh = Sharedfs(self, "negative_timeout=1")
        peers = {"s3fs": S3fs, "rclone": Rclone}
        self.peers = [peers[p](self) for p in a.peers] if self.server else []
        self.all = [self.plain, self.default, self.nocto, self.fresh]
        self.all += self.peers
        with open(self.work + "/small", "wb") as f:
            f.write(os.urandom(SMALL))
        self.before_mounting()
        for fs in self.all:
            fs.mount()
            for i in range(16):
                os.makedirs("%s/%d" % (fs.dir, i), exist_ok=True)
            for i in range(FILES):
                shutil.copyfile(self.work + "/small", "%s/f-%d" % (fs.dir, i))
        if "local" in self.args.only:
            self.read_file(self.plain) # the floor shows what is there now
        self.floor = Floor(self, self.plain)
        self.floor.mount()
        self.all.append(self.floor)
        if "migrate" in a.only and self.server:
            self.migrations = Migrations(self)

    def before_mounting(self):
        """What every node finds in the store: put past all of them, so that
        none has it cached."""
        a = self.args
        if not self.server:
            return
        keys = []
        if "small" in a.only:
            self.cold = 400 if not a.quick else 20
            keys += ["cold/%d-%d-%d" % (rtt, r, i) for rtt in a.rtt
                     for r in range(a.rounds) for i in range(self.cold)]
        if "list" in a.only:
            keys += ["many/file-%05d" % i for i in range(a.entries)]
        if "big" in a.only:
            keys += [self.big(rtt, r, "there") for rtt in a.rtt
                     for r in range(a.big_rounds)]
        if keys:
            say("putting %d objects" % len(keys))
            took = self.curl.put_many(keys, self.work + "/small")
            self.results.add("raw PUT 16 KiB, 32 at a time", 0, "curl",
                             "/s", len(keys) / took)

    def stop(self):
        for fs in reversed(self.all):
            try:
                fs.umount()
            except Exception as e: # the others have to go, too
                print("bench: umount %s: %s" % (fs.name, e), file=sys.stderr)
            if fs.proxy:
                fs.proxy.stop()
        if self.migrations:
            self.migrations.stop()
        if self.server:
            self.curl_proxy.stop()
            self.server.stop(self.bucket)
        with open("/proc/self/mountinfo") as f:
            if self.work + "/" in f.read():
                print("bench: kept, still mounted: " + self.work,
                      file=sys.stderr)
                return
        shutil.rmtree(self.work)

    def set_rtt(self, ms):
        self.rtt = ms
        for fs in self.all:
            if fs.proxy:
                fs.proxy.delay(ms)
        if self.server:
            self.curl_proxy.delay(ms)

    # --- one workload, on one file system, once

    def load(self, *args):
        out = subprocess.run(
            [self.build + "/bench/bin/load", *map(str, args)], check=True,
            stdout=subprocess.PIPE).stdout.decode()
        return {line.split()[0]: float(line.split()[1])
                for line in out.splitlines()}

    def measure(self, what, fs, unit, field, *args, per="ops"):
        """Runs load, notes its field, and the requests that it took for each
        operation (per: the field that counts those, or a number)."""
        before = fs.proxy.count() if fs.proxy else {}
        try:
            got = self.load(*args)
        except subprocess.CalledProcessError:
            self.results.add(what, self.rtt, fs.name, unit, None)
            return {}
        self.results.add(what, self.rtt, fs.name, unit, got[field])
        if fs.proxy:
            after = fs.proxy.count()
            n = got[per] if isinstance(per, str) else per
            sent = sum(after.values()) - sum(before.values())
            self.results.add_requests(what, self.rtt, fs.name,
                                      sent / n if n else 0)
        return got

    def rounds(self, workload, systems):
        """Round by round, so that all see the same noise."""
        for r in range(self.args.rounds):
            for fs in systems:
                self.runs += 1
                workload(fs, r)

    # --- the workloads

    def creates(self, fs, r):
        s = self.args.seconds
        for what, writers, more in (
                ("1 writer", 1, []), ("16 writers", 16, ["dirs"]),
                ("16 writers in one directory", 16, [])):
            if fs in self.raw:
                self.bare("create+write+close 16 KiB, " + what, fs, what)
                continue
            if fs is self.fresh:
                # What absence is believed from.
                os.listdir(fs.dir)
                for i in range(writers if more else 0):
                    os.listdir("%s/%d" % (fs.dir, i))
            self.measure("create+write+close 16 KiB, " + what, fs, "/s",
                         "rate", "create", fs.dir, "c%d" % self.runs, SMALL,
                         writers, s, 100000, *more)
            self.runs += 1

    def bare(self, what, raw, load):
        self.runs += 1
        rate = raw.rate("b%d" % self.runs, load, self.args.seconds, self.rtt)
        if rate:
            self.results.add(what, self.rtt, raw.name, "/s", rate)

    def renames(self, fs, r):
        if fs in self.raw:
            self.bare("temp+rename 16 KiB", fs, "rename")
            return
        if fs is self.fresh:
            os.listdir(fs.dir)
        self.measure("temp+rename 16 KiB", fs, "/s", "rate", "create", fs.dir,
                     "r%d" % self.runs, SMALL, 1, self.args.seconds, 100000,
                     "rename")

    def opens(self, fs, r):
        self.measure("open+read 4 KiB+close, warm", fs, "us", "p50_us",
                     "open", fs.dir, FILES, 4096, self.args.seconds)

    def stats(self, fs, r):
        self.measure("stat, warm", fs, "us", "p50_us", "stat", fs.dir, FILES,
                     self.args.seconds)

    def colds(self, fs, r):
        self.measure("open+read 16 KiB+close, cold", fs, "/s", "rate", "once",
                     fs.root + "/cold", "%d-%d" % (self.rtt, r), self.cold,
                     SMALL, self.args.seconds)

    def writes(self, fs, r):
        size = min(self.args.size, 64)
        for block in 4096, 1 << 20:
            name = "%s/w%d" % (fs.dir, self.runs)
            self.runs += 1
            what = "write %d MiB by %s" % (
                size, "4 KiB" if block == 4096 else "1 MiB")
            got = self.measure(what + ", before close", fs, "MB/s",
                               "write_mb_s", "write", name, size, block, per=1)
            if got:
                self.results.add(what + ", close", self.rtt, fs.name, "ms",
                                 got["close_s"] * 1000)
            os.unlink(name)

    def reads(self, fs, r):
        name = self.read_file(fs)
        self.measure("read 1 MiB, warm", fs, "MB/s", "mb_s", "read", name,
                     1 << 20, self.args.seconds, per=1)
        self.measure("random read 4 KiB, warm", fs, "MB/s", "mb_s", "random",
                     name, 4096, self.args.seconds, per=1)

    def read_file(self, fs):
        """Large, and read once."""
        name = fs.dir + "/large"
        if not os.path.exists(name):
            self.load("write", name, min(self.args.size, 256), 1 << 20)
            self.load("read", name, 1 << 20, 0)
        return name

    def local(self):
        """What should need no store."""
        say("opens, stats, reads and writes of what is cached")
        self.rounds(self.opens, [self.plain, self.floor, self.nocto] +
                    self.peers)
        self.rounds(self.stats, [self.plain, self.floor, self.default,
                                 self.nocto] + self.peers)
        self.rounds(self.reads, [self.plain, self.floor, self.default] +
                    self.peers)
        self.rounds(self.writes, [self.plain, self.default] + self.peers)
        for fs in self.all:
            if fs is not self.floor and os.path.exists(fs.dir + "/large"):
                os.unlink(fs.dir + "/large")

    def small(self):
        say("small files, %d ms" % self.rtt)
        systems = self.raw + [self.default, self.fresh] + self.peers
        if self.rtt == self.args.rtt[0]:
            systems = [self.plain] + systems
        self.rounds(self.creates, systems)
        self.rounds(self.renames, systems)
        if self.server:
            self.rounds(self.opens_default, [self.default])
            self.rounds(self.colds, [self.default] + self.peers)

    def opens_default(self, fs, r):
        self.measure("open+read 4 KiB+close, warm, asking the store", fs,
                     "us", "p50_us", "open", fs.dir, FILES, 4096,
                     self.args.seconds)

    def web(self):
        say("nginx")
        for r in range(self.args.rounds):
            for fs in [self.plain, self.floor, self.nocto] + self.peers:
                self.results.add("nginx, 16 KiB files, warm", self.rtt,
                                 fs.name, "/s",
                                 serve(self.work, fs.dir, FILES,
                                       self.args.seconds))

    def lists(self):
        """The name of a file says whose turn it was: many/ is in the store
        before anything is mounted."""
        say("ls -l of %d files, %d ms" % (self.args.entries, self.rtt))
        what = "ls -l of %d, " % self.args.entries
        self.default.forget()
        for fs in [self.default] + self.peers:
            for when in "cold", "warm":
                self.measure(what + when, fs, "s", "seconds", "list",
                             fs.root + "/many", per=1)
        self.default.umount()
        self.default.mount()
        self.measure(what + "cold, attributes known", self.default, "s",
                     "seconds", "list", self.default.root + "/many", per=1)

    def big(self, rtt, r, name):
        return "big-%d-%d/%s" % (rtt, r, name)

    def bigs(self):
        a = self.args
        say("%d MiB, %d ms" % (a.size, self.rtt))
        write = "write+close %d MiB" % a.size
        read = "read %d MiB, cold" % a.size
        append = "append 1 MiB to %d MiB and close" % a.size
        for r in range(a.big_rounds):
            data = self.big(self.rtt, r, "data")
            if self.curl:
                self.bound(write, read, data)
            for fs in [self.default] + self.peers:
                name = "%s/big-%d-%d" % (fs.dir, self.rtt, r)
                self.measure(write, fs, "MB/s", "mb_s", "write", name, a.size,
                             1 << 20, per=1)
                self.measure(append, fs, "s", "seconds", "write", name, 1,
                             1 << 20, "append", per=1)
                os.unlink(name)
                if self.curl:
                    self.measure(read, fs, "MB/s", "mb_s", "read",
                                 fs.root + "/" + data, 1 << 20, 0, per=1)
                if self.server:
                    self.server.collect()
            if self.curl:
                self.curl.one("DELETE", "/%s/%s" % (self.bucket, data))
                self.server.collect()

    def part(self):
        """Of a transfer by curl: a file, and how often it is sent."""
        size = self.args.size << 20
        part = min(PART, size)
        name = self.work + "/part"
        with open(name, "wb") as f:
            f.write(os.urandom(part))
        return name, part, size // part

    def bound(self, write, read, key):
        """The same bytes by curl."""
        size = self.args.size << 20
        name, part, parts = self.part()
        took = self.curl.put_big(key, [name] * parts, PARALLEL)
        self.results.add(write, self.rtt, "curl", "MB/s", size / 1e6 / took)
        took = self.put_and_write(key, name, parts)
        self.results.add(write, self.rtt, "curl and disk", "MB/s",
                         size / 1e6 / took)
        took = self.curl.get_big(key, size, part, PARALLEL)
        self.results.add(read, self.rtt, "curl", "MB/s", size / 1e6 / took)
        with tempfile.TemporaryDirectory(dir=self.work) as to:
            took = self.curl.get_big(key, size, part, PARALLEL, to)
        self.results.add(read, self.rtt, "curl to disk", "MB/s",
                         size / 1e6 / took)

    def put_and_write(self, key, part, parts):
        """The same, while as much is written to the disk of the caches."""
        local = self.plain.dir + "/bound"
        begin = time.monotonic()
        with subprocess.Popen(
                [self.build + "/bench/bin/load", "write", local,
                 str(self.args.size), str(1 << 20)],
                stdout=subprocess.DEVNULL) as writer:
            self.curl.put_big(key, [part] * parts, PARALLEL)
            if writer.wait():
                raise RuntimeError("writing %s failed" % local)
        took = time.monotonic() - begin
        os.unlink(local)
        return took

    # --- all

    def run(self):
        a = self.args
        self.start()
        self.set_rtt(a.rtt[0])
        if "local" in a.only:
            self.local()
        if "nginx" in a.only:
            self.web()
        for rtt in a.rtt:
            self.set_rtt(rtt)
            if "small" in a.only:
                self.small()
            if "big" in a.only:
                self.bigs()
            if "migrate" in a.only and self.server:
                say("migrations, %d ms" % rtt)
                self.migrations.run()
        if "list" in a.only and self.server:
            self.lists()
        self.set_rtt(0)
        for fs in self.all:
            rss = fs.rss()
            if rss is not None:
                self.results.add("memory (RSS, the most)", 0, fs.name, "MiB",
                                 rss)


def say(words):
    print("bench: " + words, file=sys.stderr, flush=True)


def facts(b):
    """What a reader of the numbers has to know."""
    def git(*args):
        return subprocess.run(["git", "-C", b.src, *args],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout.decode()
    cpu = "unknown"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
    commit = git("rev-parse", "--short=12", "HEAD").strip() or "unknown"
    if git("status", "--porcelain", "--untracked-files=no").strip():
        commit += " and changes"
    return {
        "date": datetime.datetime.utcnow().strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit,
        "command": "bench/run " + " ".join(sys.argv[1:]),
        "kernel": platform.release(),
        "cpu": "%d x %s" % (os.cpu_count(), cpu),
        "disk": b.plain.name + b.disk_note,
        "store": b.args.store,
        "load": "%.1f when it began" % b.load_before,
    }


def without_journal(path):
    """ext4 then looks long for an inode where files were removed."""
    if not os.path.isdir("/proc/fs/ext4"):
        return ""
    disk = subprocess.run(["findmnt", "-no", "SOURCE", "-T", path],
                          stdout=subprocess.PIPE).stdout.decode().strip()
    disk = os.path.basename(disk)
    if disk not in os.listdir("/proc/fs/ext4"):
        return ""
    return "" if os.path.isdir("/proc/fs/jbd2/%s-8" % disk) else ", no journal"


def main():
    args = arguments()
    b = Bench(args)
    b.load_before = os.getloadavg()[0]
    b.disk_note = without_journal(b.work)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        b.run()
    finally:
        b.stop()
    f = facts(b)
    text = report.text(b.results, f)
    print(text, end="")
    out = args.out
    if out is None and not args.quick:
        out = "%s-%s" % (f["date"][:10], f["commit"].replace(" ", "-"))
    if out:
        where = b.src + "/bench/results/" + out
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where + ".txt", "w") as t:
            t.write(text)
        with open(where + ".json", "w") as t:
            t.write(report.to_json(b.results, f))
        say("written to %s.txt and .json" % where)
    return 0


if __name__ == "__main__":
    sys.exit(main())
