#!/bin/sh
# SPDX-License-Identifier: MIT
# [I.8], [I.9]: the worker has few capabilities (that it is closed to others of
# its user: tests/fs/user.sh); the control socket answers nobody else, and
# nonsense on it does not end the worker.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program python3 setpriv

new_store file
D=$work/mnt
mount_node n "$SOURCE" "$D" "$OPTS,control=$work/control"
worker=$(status_field "$D" worker_pid)

echo "== [I.8] capabilities"
# By number: SYS_MODULE 16, SYS_RAWIO 17, SYS_PTRACE 19, NET_ADMIN 12, NET_RAW
# 13, SYS_BOOT 22, SYS_TIME 25, BPF 39.
for set in CapEff CapPrm CapBnd; do
	python3 - "$worker" $set <<'END' || fail "$set: see above"
import sys
have = [int(l.split()[1], 16) for l in open("/proc/%s/status" % sys.argv[1])
        if l.startswith(sys.argv[2] + ":")][0]
for cap in 12, 13, 16, 17, 19, 22, 25, 39:
    if have >> cap & 1:
        sys.exit("capability %d is there" % cap)
END
done
# And what it needs is enough: as another user, another owner, passthrough.
mkdir -m 777 "$D/open"
setpriv --reuid=1234 --regid=1234 --clear-groups sh -c "umask 077; echo x >'$D/open/f'"
same owner "$(stat -c '%u %g %a' "$store_dir/open/f")" "1234 1234 600"
chown 77:78 "$D/open/f"
same "owner after chown" "$(stat -c '%u %g' "$store_dir/open/f")" "77 78"
mkfifo "$D/open/fifo"
same "read by root" "$(cat "$D/open/f")" x

echo "== [I.9] the control socket"
sock=$work/control
same "mode of the socket" "$(stat -Lc %a "$sock")" 600
cat >"$work/ask.py" <<'END'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
if len(sys.argv) > 2:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
s.settimeout(60)
s.connect(sys.argv[1])
s.sendall(b'{"cmd":"status"}\n')
sys.stdout.write(s.recv(65536).decode())
END
python3 "$work/ask.py" "$sock" | grep -q worker_pid || fail "root is not answered"
# Even if somebody opened the door.
chmod 666 "$sock"
python3 "$work/ask.py" "$sock" 1234 >"$work/out" 2>&1 || :
chmod 600 "$sock"
! grep -q worker_pid "$work/out" || fail "another user is answered"
grep -q "a stranger was turned away" "$work/n.log" || fail "not logged"

echo "== nonsense on the control socket"
cat >"$work/fuzz.py" <<'END'
import random, socket, sys
random.seed(int(sys.argv[2]))
seeds = [b'{"cmd":"status"}', b'{"cmd":"reload","options":{"actimeo":"3"},"dry":true}',
         b'{"cmd":"reload","options":[1,2]}', b'{"cmd":"reload","options":{"actimeo":{}}}',
         b'{"cmd":"reload","options":{"nonsense":null}}', b'{"cmd":"reload","options":"x"}',
         b'{"cmd":null}', b'{"cmd":{"cmd":"status"}}', b'[]', b'null', b'',
         b'[' * 5000, b'{"a":' * 2000, b'{"cmd":"pending"', b'\0\0\0\0',
         b'{"cmd":"' + b'x' * 20000 + b'"}', b'{"cmd":"\\u0000"}', b'\xff\xfe{"cmd":"status"}']
def ask(line, end=b'\n'):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(sys.argv[1])
    try:
        s.sendall(line + end)
        if not end:
            s.shutdown(socket.SHUT_WR)
        s.recv(65536)
    except (ConnectionError, BrokenPipeError):
        pass
    s.close()
for line in seeds:
    ask(line)
    ask(line, b'')
for i in range(int(sys.argv[3])):
    b = bytearray(random.choice(seeds[:6]))
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(b))
        what = random.randrange(3)
        if what == 0:
            b[at] = random.randrange(256)
        elif what == 1:
            del b[at]
        else:
            b[at:at] = bytes(random.choices(b'{}[]":,0\\u\n', k=3))
    # Not by chance what ends the mount or waits for its end.
    if b'stop' not in b and b'wait' not in b:
        ask(bytes(b))
END
n=500
quick && n=100
seed=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
echo "seed $seed"
python3 "$work/fuzz.py" "$sock" "$seed" $n || fail "seed $seed: no answer"
same "the same worker, seed $seed" "$(status_field "$D" worker_pid)" "$worker"
umount_all
