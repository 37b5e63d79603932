# SPDX-License-Identifier: MIT
"""The bound of small files: the requests that a load needs, sent one after the
other on one connection for each writer, by curl, which does nothing else."""
import subprocess

STEPS = {
    "LIST": ("GET", "?list-type=2&encoding-type=url&prefix=%(new)s"
             "&delimiter=%%2F&max-keys=16", None),
    "PUT": ("PUT", "/%(new)s", None),
    "LIST 2": ("GET", "?list-type=2&encoding-type=url&prefix=%(name)s"
               "&delimiter=%%2F&max-keys=16", None),
    "COPY": ("PUT", "/%(name)s", "/%(bucket)s/%(new)s"),
    "DELETE": ("DELETE", "/%(new)s", None),
}


class Raw:
    """name: of its rows; loads: see targets.py."""

    def __init__(self, name, curl, body, loads):
        self.name, self.curl, self.body, self.loads = name, curl, body, loads

    def step(self, step, names):
        method, path, source = STEPS[step]
        headers, options = {}, ['output = "/dev/null"', "fail", "silent",
                                'write-out = "%{stdout}%{time_total}\\n"']
        if source:
            headers["x-amz-copy-source"] = source % names
        if source or method == "DELETE":
            options.append('request = "%s"' % method)
        elif method == "PUT":
            # Else curl waits for leave to send: one more round trip.
            options += ['upload-file = "%s"' % self.body, 'header = "Expect:"']
        return self.curl.signed(method, "/" + names["bucket"] + path % names,
                                headers, options)

    def rate(self, tag, load, seconds, rtt):
        """Files a second of all writers, or None; what curl needs to start is
        not counted."""
        writers, steps = self.loads.get(load, (0, []))
        if not steps:
            return None
        files = max(5, int(1000 * seconds / (len(steps) * (rtt + 5))))
        running = []
        for w in range(writers):
            config = "%s/raw.%d" % (self.curl.work, w)
            with open(config, "w") as f:
                f.write("next\n".join(
                    self.step(s, {"bucket": self.curl.bucket,
                                  "name": "raw/%d/%s-%d" % (w, tag, i),
                                  "new": "raw/%d/%s-%d.new" % (w, tag, i)})
                    for i in range(files) for s in steps))
            running.append(["curl", "-q", "--fail-early", "-K", config])
        running = [subprocess.Popen(c, stdout=subprocess.PIPE)
                   for c in running]
        rate = 0
        for p in running:
            out, _ = p.communicate()
            if p.returncode:
                raise RuntimeError("curl ended with %d" % p.returncode)
            rate += files / sum(float(x) for x in out.decode().split())
        return rate
