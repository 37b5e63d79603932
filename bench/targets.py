# SPDX-License-Identifier: MIT
"""The figures that sharedfs is to reach, as ratios within one run."""

OWN = "sharedfs"
NOCTO = "sharedfs nocto,actimeo=60"
FRESH = "sharedfs negative_timeout=1"
# raw.py: how many writers send what for each file.
RAW_OWN, RAW_FRESH = "curl, LIST and PUT", "curl, PUT"
RAW = {
    RAW_OWN: {
        "1 writer": (1, ["LIST", "PUT"]),
        "16 writers": (16, ["LIST", "PUT"]),
        "rename": (1, ["LIST", "PUT", "LIST 2", "COPY", "DELETE"])},
    RAW_FRESH: {
        "1 writer": (1, ["PUT"]),
        "16 writers": (16, ["PUT"]),
        "16 writers in one directory": (16, ["PUT"]),
        "rename": (1, ["PUT", "COPY", "DELETE"])},
    # The kernel looks up one name at a time.
    "curl, LIST alone": {"16 writers in one directory": (1, ["LIST"])},
}
# What a row is compared with, if it is not OWN.
BESIDE = {RAW_FRESH: FRESH}


def ratio(what, mine, other, least):
    """At least so much of what the other does."""
    def row(r, plain):
        got = r.pairs(what, rtt_of(r, what, mine), mine, other or plain)
        return (what + ": of " + (other or plain), got, least, "at least")
    return row


def rtt_of(r, what, fs):
    return min([k[1] for k in r.values if k[0] == what and k[2] == fs] or [0])


def rate(what, mine, trips, writers, least):
    """At least so much of writers/(trips round trips)."""
    def row(r, plain):
        rtt = max([k[1] for k in r.values if k[0] == what and k[2] == mine] or
                  [0])
        if rtt == 0:
            return None
        bound = writers * 1000 / (trips * rtt)
        got = [v / bound for v in r.values[(what, rtt, mine)] if v]
        return ("%s, %d ms, %s: of %.4g/s" % (what, rtt, mine, bound), got,
                least, "at least")
    return row


def of_raw(what, least):
    """The same beside curl, which takes the store's own time, too."""
    def row(r, plain):
        rtt = max([k[1] for k in r.values if k[0] == what] or [0])
        return [("%s, %d ms, %s: of %s" % (what, rtt, mine, raw),
                 r.pairs(what, rtt, mine, raw), least, "at least")
                for mine, raw in ((OWN, RAW_OWN), (FRESH, RAW_FRESH))]
    return row


def within(what, mine, floor, us):
    """No more than so many microseconds above the floor."""
    def row(r, plain):
        a = r.values.get((what, rtt_of(r, what, mine), mine), [])
        b = r.values.get((what, rtt_of(r, what, floor), floor), [])
        got = [x - y for x, y in zip(a, b) if x and y]
        return (what + ": us above the floor", got, us, "at most")
    return row


def each_rtt(what, mine, other, least):
    """ratio(), at each round trip."""
    def row(r, plain):
        return [("%s, %d ms: of %s" % (what, rtt, other),
                 r.pairs(what, rtt, mine, other), least, "at least")
                for w, rtt, fs in r.values if w == what and fs == mine]
    return row


def most(what, mine, limit):
    def row(r, plain):
        rtt = rtt_of(r, what, mine)
        got = [v for v in r.values.get((what, rtt, mine), []) if v]
        return ("%s, %d ms" % (what, rtt), got, limit, "at most")
    return row


FIGURES = [
    ratio("read 1 MiB, warm", OWN, None, 0.95),
    ratio("random read 4 KiB, warm", OWN, None, 0.80),
    ratio("write 64 MiB by 4 KiB, before close", OWN, None, 0.80),
    ratio("write 64 MiB by 4 KiB, before close", OWN, "s3fs", 10),
    ratio("write 64 MiB by 4 KiB, before close", OWN, "rclone", 10),
    rate("create+write+close 16 KiB, 1 writer", OWN, 2, 1, 0.90),
    rate("create+write+close 16 KiB, 1 writer", FRESH, 1, 1, 0.90),
    of_raw("create+write+close 16 KiB, 1 writer", 0.90),
    rate("create+write+close 16 KiB, 16 writers", OWN, 2, 16, 0.85),
    rate("create+write+close 16 KiB, 16 writers", FRESH, 1, 16, 0.85),
    of_raw("create+write+close 16 KiB, 16 writers", 0.85),
    rate("temp+rename 16 KiB", OWN, 5, 1, 0.85),
    rate("temp+rename 16 KiB", FRESH, 3, 1, 0.85),
    of_raw("temp+rename 16 KiB", 0.85),
    each_rtt("write+close 1024 MiB", OWN, "curl", 0.90),
    each_rtt("read 1024 MiB, cold", OWN, "curl", 0.90),
    most("ls -l of 10000, cold, attributes known", OWN, 0.6),
    ratio("nginx, 16 KiB files, warm", NOCTO, None, 0.80),
    within("open+read 4 KiB+close, warm", NOCTO, "floor", 5),
    each_rtt("copy 2000 files of 16 KiB", "migrate", "rclone copy", 2),
    each_rtt("copy a large file", "migrate", "curl", 0.90),
    each_rtt("copy a large file", "migrate", "curl, signed", 0.90),
    # Not more than 1.2 times as long.
    each_rtt("a program's write, fsync and rename of 16 KiB, median",
             "nothing beside it", "migrate beside it", 0.83),
]


def rows(results):
    """[(figure, median, wanted, reached)]"""
    plain = [k[2] for k in results.values if k[2] not in (
        "floor", "s3fs", "rclone") and not k[2].startswith((OWN, "curl"))]
    out = []
    made = []
    for make in FIGURES:
        row = make(results, plain[0] if plain else "ext4")
        made += row if isinstance(row, list) else [row]
    for row in made:
        if not row or not row[1]:
            continue
        name, got, wanted, kind = row
        got = sorted(got)
        middle = got[len(got) // 2]
        out.append({"figure": name, "median": middle, "min": got[0],
                    "max": got[-1], "wanted": wanted, "kind": kind,
                    "reached": middle >= wanted if kind == "at least"
                    else middle <= wanted})
    return out


def lines(results):
    table = rows(results)
    if not table:
        return []
    return ["Figures to reach"] + [
        "  %-4s %-72s %s %.4g: %.3g (%.3g-%.3g)"
        % ("ok" if r["reached"] else "MISS", r["figure"], r["kind"],
           r["wanted"], r["median"], r["min"], r["max"]) for r in table]
