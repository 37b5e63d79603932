# SPDX-License-Identifier: MIT
"""The numbers of a run, as a table and as JSON; and the figures to reach."""
import json
import statistics

import targets


class Results:
    """Values by (workload, round trip in ms, file system), in the order in
    which they came."""

    def __init__(self):
        self.values, self.units, self.requests = {}, {}, {}

    def add(self, what, rtt, fs, unit, value):
        """None: it did not work there."""
        self.units[what] = unit
        self.values.setdefault((what, rtt, fs), []).append(value)

    def add_requests(self, what, rtt, fs, n):
        self.requests.setdefault((what, rtt, fs), []).append(n)

    def median(self, what, rtt, fs):
        v = [x for x in self.values.get((what, rtt, fs), []) if x is not None]
        return statistics.median(v) if v else None

    def pairs(self, what, rtt, a, b):
        """a/b of each round: noise that both saw is not in it."""
        va = self.values.get((what, rtt, a), [])
        vb = self.values.get((what, rtt, b), [])
        return [x / y for x, y in zip(va, vb) if x and y]


def short(x):
    if x is None:
        return "failed"
    if x >= 1000:
        return "%.0f" % x
    return "%.3g" % x


def min_median_max(values):
    v = sorted(x for x in values if x is not None)
    if not v:
        return "failed"
    if len(v) == 1:
        return short(v[0])
    return "%s  (%s-%s)" % (short(statistics.median(v)), short(v[0]),
                            short(v[-1]))


def text(results, facts):
    out = ["sharedfs benchmark", ""]
    out += ["%-8s %s" % (k, v) for k, v in facts.items()]
    out += ["", "median (min-max) of the rounds; "
            "requests: to the store, for each operation", ""]
    form = "  %-28s %-26s %10s  %s"
    last = None
    for (what, rtt, fs), v in sorted_by_work(results):
        if (what, rtt) != last:
            last = (what, rtt)
            out += ["", "%s, %d ms [%s]" % (what, rtt, results.units[what])]
        r = results.requests.get((what, rtt, fs))
        out.append((form % (fs, min_median_max(v),
                            short(statistics.median(r)) if r else "",
                            beside(results, what, rtt, fs))).rstrip())
    out += [""] + targets.lines(results) + [""]
    return "\n".join(out)


def sorted_by_work(results):
    """As they came, those of one workload together."""
    order = {}
    for what, rtt, _ in results.values:
        order.setdefault((what, rtt), len(order))
    return sorted(results.values.items(),
                  key=lambda kv: order[(kv[0][0], kv[0][1])])


def beside(results, what, rtt, fs):
    """How many times better sharedfs is than this one."""
    if fs.startswith("sharedfs"):
        return ""
    own = results.median(what, rtt, targets.BESIDE.get(fs, "sharedfs"))
    if own is None:
        own = results.median(what, rtt, "sharedfs nocto,actimeo=60")
    other = results.median(what, rtt, fs)
    if not own or not other:
        return ""
    better = own / other if results.units[what].endswith("/s") else other / own
    return "sharedfs: %.2f x" % better


def to_json(results, facts):
    rows = []
    for (what, rtt, fs), v in sorted_by_work(results):
        row = {"workload": what, "rtt_ms": rtt, "system": fs,
               "unit": results.units[what], "values": v}
        good = [x for x in v if x is not None]
        if good:
            row.update(min=min(good), median=statistics.median(good),
                       max=max(good))
        r = results.requests.get((what, rtt, fs))
        if r:
            row["requests"] = statistics.median(r)
        rows.append(row)
    return json.dumps({"facts": facts, "results": rows,
                       "figures": targets.rows(results)}, indent=1) + "\n"
