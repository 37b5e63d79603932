# SPDX-License-Identifier: MIT
"""What is measured: a plain directory, the floor, sharedfs and its peers.

Each has a name, a directory to work in, and a proxy where it has a store."""
import json
import os
import shutil
import subprocess
import time

from store import Proxy


def wait_until(what, test, seconds=30):
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            raise RuntimeError("waited in vain for " + what)
        time.sleep(0.02)


def file_system_of(path):
    return subprocess.run(["stat", "-f", "-c", "%T", path], check=True,
                          stdout=subprocess.PIPE).stdout.decode().strip()


class Plain:
    """A directory of the disk that the caches are on, too."""
    proxy = None
    durable = False

    def __init__(self, b):
        self.name = file_system_of(b.work).replace("ext2/ext3", "ext4")
        self.dir = self.root = b.work + "/plain"

    def mount(self):
        os.makedirs(self.dir, exist_ok=True)

    def umount(self):
        pass

    def rss(self):
        return None


class Mounted:
    """Something mounted; dir is where it may write, root the bucket."""
    program = None

    def __init__(self, b, name, store=True):
        self.b, self.name = b, name
        self.id = name.replace(" ", "-").replace(",", "-").replace("=", "-")
        self.root = "%s/%s" % (b.work, self.id)
        self.dir = "%s/%s" % (self.root, self.id)
        self.cache = "%s/cache-%s" % (b.work, self.id)
        self.proxy = None
        if store and b.server:
            self.proxy = Proxy(b.build, b.work, self.id, b.server.address)
        self.process = None

    def start(self, command, **more):
        """Of a program that stays in the foreground."""
        with open("%s/%s.log" % (self.b.work, self.id), "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log,
                                            **more)

        def ready():
            if self.process.poll() is not None:
                raise RuntimeError("%s ended; see its log" % self.name)
            return os.path.ismount(self.root)
        wait_until(self.name, ready)

    def umount(self):
        if os.path.ismount(self.root):
            subprocess.run(["umount", self.root], check=True)
        if self.process:
            self.process.wait(60)
            self.process = None

    def rss(self):
        return rss_of(self.process.pid) if self.process else None


def rss_of(pid):
    """The most that it was, MiB."""
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None


class Floor(Mounted):
    """bench/floor.c: shows the files of the plain directory."""

    def __init__(self, b, plain):
        Mounted.__init__(self, b, "floor", store=False)
        self.dir, self.plain = self.root, plain

    def mount(self):
        os.makedirs(self.root, exist_ok=True)
        self.start([self.b.build + "/bench/bin/floor", self.plain.dir,
                    self.root])


class Sharedfs(Mounted):
    """options: beside those that say where the store is."""
    durable = True

    def __init__(self, b, options=""):
        Mounted.__init__(self, b, "sharedfs" + (" " + options if options
                                                else ""))
        self.options = options
        self.program = b.build + "/sharedfs"

    def mount(self):
        o = ["cache_dir=" + self.cache,
             "log_file=%s/%s.log" % (self.b.work, self.id)]
        if self.b.server:
            source = "s3://" + self.b.bucket
            o += ["endpoint=" + self.proxy.url, "region=us-east-1",
                  "path_style"]
        else:
            source = "file://" + self.b.work + "/store"
            os.makedirs(self.b.work + "/store", exist_ok=True)
        if self.options:
            o.append(self.options)
        os.makedirs(self.root, exist_ok=True)
        subprocess.run([self.program, "mount", source, self.root, "-o",
                        ",".join(o)], check=True)
        os.makedirs(self.dir, exist_ok=True)

    def umount(self):
        if not os.path.ismount(self.root):
            return
        pids = [self.status()[k] for k in ("supervisor_pid", "worker_pid")]
        subprocess.run([self.program, "umount", self.root], check=True,
                       stdout=subprocess.DEVNULL)
        for pid in pids:
            wait_until("the end of sharedfs",
                       lambda: not os.path.exists("/proc/%d" % pid))

    def status(self):
        return json.loads(subprocess.run(
            [self.program, "status", "--json", self.root], check=True,
            stdout=subprocess.PIPE).stdout)

    def rss(self):
        return rss_of(self.status()["worker_pid"])

    def forget(self):
        """As a node that never saw the share."""
        self.umount()
        shutil.rmtree(self.cache)
        self.mount()


class S3fs(Mounted):
    durable = True

    def __init__(self, b):
        Mounted.__init__(self, b, "s3fs")

    def mount(self):
        passwd = self.b.work + "/s3fs.passwd"
        with open(os.open(passwd, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write("%s:%s\n" % (os.environ["AWS_ACCESS_KEY_ID"],
                                 os.environ["AWS_SECRET_ACCESS_KEY"]))
        os.makedirs(self.root, exist_ok=True)
        os.makedirs(self.cache, exist_ok=True)
        self.start(["s3fs", self.b.bucket, self.root, "-f", "-o",
                    "url=%s,use_path_request_style,passwd_file=%s,"
                    "use_cache=%s,parallel_count=16"
                    % (self.proxy.url, passwd, self.cache)])
        os.makedirs(self.dir, exist_ok=True)


def rclone_env(endpoint):
    """r: is the server."""
    env = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
    env.update(RCLONE_CONFIG="/dev/null", RCLONE_CONFIG_R_TYPE="s3",
               RCLONE_CONFIG_R_PROVIDER="Ceph", RCLONE_CONFIG_R_ENV_AUTH="true",
               RCLONE_CONFIG_R_ENDPOINT=endpoint)
    return env


class Rclone(Mounted):
    """close() returns before the store has the bytes, whatever the options."""
    durable = False

    def __init__(self, b):
        Mounted.__init__(self, b, "rclone")

    def mount(self):
        os.makedirs(self.root, exist_ok=True)
        self.start(["rclone", "mount", "r:" + self.b.bucket, self.root,
                    "--vfs-cache-mode", "full", "--vfs-write-back", "0s",
                    "--cache-dir", self.cache], env=rclone_env(self.proxy.url))
        os.makedirs(self.dir, exist_ok=True)
