# SPDX-License-Identifier: MIT
"""uml-forward.py ADDRESS PORT TARGET [PID]: who connects to ADDRESS:PORT, in the
network namespace of process PID, has TARGET:PORT of this one."""
import ctypes
import os
import socket
import sys
import threading

CLONE_NEWNET = 0x40000000


def enter(fd):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        sys.exit('setns: ' + os.strerror(ctypes.get_errno()))


def copy(a, b):
    try:
        while True:
            data = a.recv(1 << 16)
            if not data:
                break
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        for s in a, b:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


address, port, target = sys.argv[1:4]
if len(sys.argv) > 4:
    here = os.open('/proc/self/ns/net', os.O_RDONLY)
    enter(os.open('/proc/%s/ns/net' % sys.argv[4], os.O_RDONLY))
listener = socket.create_server((address, int(port)))
if len(sys.argv) > 4:
    enter(here)
print('ready', flush=True)
while True:
    client = listener.accept()[0]
    server = socket.create_connection((target, int(port)))
    for s in client, server:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for pair in (client, server), (server, client):
        threading.Thread(target=copy, args=pair, daemon=True).start()
