# SPDX-License-Identifier: MIT
"""The S3 server, the delay proxies, and what curl can do at most."""
import hashlib
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import time


def load_s3req(src):
    """tests/lib/s3req, for its signatures."""
    loader = importlib.machinery.SourceFileLoader(
        "s3req", src + "/tests/lib/s3req")
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("s3req", loader))
    loader.exec_module(module)
    return module


class Server:
    """The gateway: one that runs already ($SHAREDFS_RGW_ENV), or our own."""

    def __init__(self, src, work):
        self.rgw = src + "/tests/lib/rgw"
        self.own = None
        env = os.environ.get("SHAREDFS_RGW_ENV")
        if not env:
            self.own = work + "/rgw"
            os.environ["PATH"] += ":/usr/sbin:/sbin"
            subprocess.run([self.rgw, "start", self.own], check=True,
                           stdout=subprocess.DEVNULL,
                           env={**os.environ, "RGW_BYTES": "12884901888"})
            env = self.own + "/env"
        shell = subprocess.run(
            ["sh", "-c", '. "$1"; env -0', "sh", env], check=True,
            stdout=subprocess.PIPE).stdout
        for pair in shell.decode().split("\0"):
            name, _, value = pair.partition("=")
            if name.startswith(("RGW_", "AWS_")):
                os.environ[name] = value
        self.dir = os.environ["RGW_DIR"]
        self.endpoint = os.environ["RGW_ENDPOINT"]
        self.address = self.endpoint.split("//")[1]

    def processes(self):
        """Of our own server."""
        if not self.own:
            return []
        with open(self.own + "/link") as f:
            where = f.read().strip() + "/d/"
        pids = []
        for name in "mon.pid", "osd.pid", "gw.pid":
            with open(where + name) as f:
                pids.append(int(f.read()))
        return pids

    def bucket(self, name):
        subprocess.run([self.rgw, "bucket", self.dir, name], check=True,
                       stdout=subprocess.DEVNULL)

    def collect(self):
        """Frees what was deleted: the server keeps it in memory."""
        if not self.own:
            return
        with open(self.own + "/link") as f:
            link = f.read().strip()
        subprocess.run(
            ["radosgw-admin", "-c", link + "/d/ceph.conf", "-n", "client.rgw",
             "gc", "process", "--include-all"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self, bucket):
        if self.own:
            subprocess.run([self.rgw, "stop", self.own])
        else:
            subprocess.run([self.rgw, "rmbucket", self.dir, bucket])


class Proxy:
    """tests/lib/proxy.c in front of the server, for one client."""

    def __init__(self, build, work, name, target):
        self.program = build + "/tests/bin/proxy"
        self.control = "%s/%s.ctl" % (work, name)
        self.process = subprocess.Popen(
            [self.program, "--target", target, "--control", self.control],
            stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        self.url = "http://127.0.0.1:%d" % self.port

    def do(self, *command):
        return subprocess.run(
            [self.program, "--send", self.control, *command], check=True,
            stdout=subprocess.PIPE).stdout.decode()

    def delay(self, ms):
        self.do("delay", str(ms))

    def count(self):
        """Requests by class."""
        return {line.split()[0]: int(line.split()[1])
                for line in self.do("count").splitlines()
                if len(line.split()) == 2 and not line.startswith("total ")}

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Curl:
    """What the store gives to a client that does nothing but transfer:
    curl, many requests at a time, unsigned bodies."""

    def __init__(self, src, work, url, bucket):
        self.s3req = load_s3req(src)
        self.work, self.url, self.bucket = work, url, bucket
        self.host = url.split("//")[1]

    def signed(self, method, path, extra, options,
               payload="UNSIGNED-PAYLOAD"):
        """One request as lines of curl's configuration."""
        headers = dict(extra)
        self.s3req.sign(method, path, self.host, headers, payload)
        lines = ['url = "%s%s"' % (self.url, path)]
        lines += ['header = "%s: %s"' % h for h in headers.items()]
        return "\n".join(lines + options) + "\n"

    def run(self, requests, parallel):
        config = self.work + "/curl.config"
        with open(config, "w") as f:
            f.write("next\n".join(requests))
        begin = time.monotonic()
        out = subprocess.run(
            ["curl", "-q", "--no-progress-meter", "--fail-early", "--fail",
             "--parallel", "--parallel-max", str(parallel), "-K", config],
            check=True, stdout=subprocess.PIPE).stdout
        return time.monotonic() - begin, out

    def put_many(self, keys, file, parallel=32):
        """The same file under many names; seconds."""
        took = 0
        for i in range(0, len(keys), 1000):
            t, _ = self.run([self.signed(
                "PUT", "/%s/%s" % (self.bucket, k), {},
                ['upload-file = "%s"' % file, 'output = "/dev/null"',
                 "fail", "silent"]) for k in keys[i:i + 1000]], parallel)
            took += t
        return took

    def one(self, method, path, body=None):
        options = ['request = "%s"' % method]
        if body is not None:
            name = self.work + "/curl.body"
            with open(name, "w") as f:
                f.write(body)
            options.append('data-binary = "@%s"' % name)
        _, out = self.run([self.signed(method, path, {}, options)], 1)
        return out.decode()

    def put_big(self, key, part_files, parallel, signed=False):
        """A multipart upload; seconds, from the first request to the last.
        signed: the server holds each part against its SHA-256, which is
        computed before."""
        path = "/%s/%s" % (self.bucket, key)
        sums = {}
        for name in set(part_files):
            with open(name, "rb") as f:
                data = f.read()
            sums[name] = (hashlib.md5(data).hexdigest(),
                          hashlib.sha256(data).hexdigest() if signed
                          else "UNSIGNED-PAYLOAD")
        begin = time.monotonic()
        upload = re.search("<UploadId>(.*)</UploadId>",
                           self.one("POST", path + "?uploads", "")).group(1)
        self.run([self.signed(
            "PUT", "%s?partNumber=%d&uploadId=%s" % (path, i, upload), {},
            ['upload-file = "%s"' % name, 'output = "/dev/null"',
             'header = "Expect:"', "fail", "silent"], sums[name][1])
            for i, name in enumerate(part_files, 1)], parallel)
        body = "<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % (
            "".join("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>"
                    % (i, sums[name][0])
                    for i, name in enumerate(part_files, 1)))
        out = self.one("POST", "%s?uploadId=%s" % (path, upload), body)
        if "<Error>" in out:
            raise RuntimeError(out)
        return time.monotonic() - begin

    def get_big(self, key, size, piece, parallel, to=None):
        """Ranges in parallel, thrown away or each to a file in `to`;
        seconds."""
        path = "/%s/%s" % (self.bucket, key)
        took, _ = self.run([self.signed(
            "GET", path, {}, ['range = "%d-%d"' % (at, min(at + piece, size) - 1),
                              'output = "%s"' % ("%s/%d" % (to, at) if to
                                                 else "/dev/null"),
                              "fail", "silent"])
            for at in range(0, size, piece)], parallel)
        return took
