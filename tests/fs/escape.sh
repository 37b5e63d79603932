#!/bin/sh
# SPDX-License-Identifier: MIT
# [I.5]: nothing in a store leads the daemon out of it.  Directories and files
# that this node knows are replaced by symlinks behind its back, and then each
# operation is tried on them.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3

new_store file
D=$work/mnt secret=$work/secret
mkdir "$secret" "$secret/sub"
echo secret >"$secret/f"
chmod 600 "$secret/f"
find "$secret" -printf '%p %m %U %T@ %s\n' | sort >"$work/before"

# What the kernel and the node believe of names lives long.
mount_node n "$SOURCE" "$D" "$OPTS,actimeo=600,nocto"
mkdir "$D/dir" "$D/dir/sub" "$D/away"
echo mine >"$D/dir/f"
echo mine >"$D/away/g"
echo mine >"$D/file"
ls -lR "$D" >/dev/null

cat >"$work/try.py" <<'END'
import os, sys
top, stage = sys.argv[1], sys.argv[2]
d = os.open(top + "/dir", os.O_RDONLY | os.O_DIRECTORY)
if stage == "open":
    print("opened", flush=True)
    sys.stdin.readline()
def attempt(name, fn):
    try:
        r = fn()
    except OSError as e:
        return
    if isinstance(r, bytes) and b"secret" in r:
        sys.exit(name + ": the secret was read")
def read(path, flags=os.O_RDONLY):
    fd = os.open(path, flags, dir_fd=d)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)
def write(path, flags):
    fd = os.open(path, flags, 0o666, dir_fd=d)
    try:
        os.write(fd, b"overwritten")
    finally:
        os.close(fd)
W = os.O_WRONLY
attempt("read", lambda: read("f"))
attempt("read file", lambda: read("../file"))
attempt("write", lambda: write("f", W))
attempt("truncate", lambda: write("f", W | os.O_TRUNC))
attempt("append", lambda: write("f", W | os.O_APPEND))
attempt("write file", lambda: write("../file", W))
attempt("create", lambda: write("new", W | os.O_CREAT))
attempt("create excl", lambda: write("new2", W | os.O_CREAT | os.O_EXCL))
attempt("mkdir", lambda: os.mkdir("newdir", dir_fd=d))
attempt("mkfifo", lambda: os.mkfifo("fifo", dir_fd=d))
attempt("symlink", lambda: os.symlink("x", "link", dir_fd=d))
attempt("link", lambda: os.link("f", "hard", src_dir_fd=d, dst_dir_fd=d))
attempt("chmod", lambda: os.chmod(top + "/dir/f", 0o777))
attempt("chown", lambda: os.chown("f", 1, 1, dir_fd=d))
attempt("utime", lambda: os.utime("f", (1, 1), dir_fd=d))
attempt("chmod file", lambda: os.chmod(top + "/file", 0o777))
attempt("xattr", lambda: os.setxattr(top + "/dir/f", "user.x", b"y"))
attempt("xattr file", lambda: os.setxattr(top + "/file", "user.x", b"y"))
attempt("rename in", lambda: os.rename(top + "/away/g", "g", dst_dir_fd=d))
attempt("rename out", lambda: os.rename("f", top + "/stolen", src_dir_fd=d))
attempt("stolen", lambda: open(top + "/stolen", "rb").read())
attempt("list", lambda: "\n".join(os.listdir(d)).encode())
attempt("rmdir", lambda: os.rmdir("sub", dir_fd=d))
attempt("unlink", lambda: os.unlink("f", dir_fd=d))
END

replace()
{
	mv "$store_dir/dir" "$store_dir/dir.away"
	mv "$store_dir/file" "$store_dir/file.away"
	ln -s "$secret" "$store_dir/dir"
	ln -s "$secret/f" "$store_dir/file"
}

untouched()
{
	find "$secret" -printf '%p %m %U %T@ %s\n' | sort >"$work/after"
	diff "$work/before" "$work/after" || fail "$1: something outside was changed"
	same "$1: content" "$(cat "$secret/f")" secret
}

echo "== under an open directory"
mkfifo "$work/go"
python3 "$work/try.py" "$D" open <"$work/go" >"$work/said" &
try=$!
test_pids="$test_pids $try"
exec 7>"$work/go"
wait_until 60 "the directory to be open" grep -q opened "$work/said"
replace
echo >&7
exec 7>&-
wait "$try" || fail "under an open directory"
untouched "under an open directory"

echo "== on a node that learns it first"
# What could not be written is kept: [P1.2].
sharedfs umount -f "$D"
wait_gone
mount_node n "$SOURCE" "$D"
# The kernel follows the link in the caller's name, which is the caller's right;
# the daemon never does.
same "a link is a link" "$(readlink "$D/dir")" "$secret"
same "a link to a file too" "$(stat -c %F "$D/file")" "symbolic link"
umount_all
untouched "at the end"
