# SPDX-License-Identifier: MIT
"""nginx in front of a directory, and wrk in front of nginx."""
import os
import re
import socket
import subprocess

from mounts import wait_until

CONFIG = """
daemon off;
worker_processes 1;
pid %(dir)s/pid;
error_log %(dir)s/error.log;
events {}
http {
	access_log off;
	sendfile on;
	keepalive_requests 1000000;
	client_body_temp_path %(dir)s/b;
	proxy_temp_path %(dir)s/p;
	fastcgi_temp_path %(dir)s/f;
	uwsgi_temp_path %(dir)s/u;
	scgi_temp_path %(dir)s/s;
	server { listen 127.0.0.1:%(port)d; root %(root)s; }
}
user root;
"""
SCRIPT = """
local i = 0
request = function()
	i = (i + 1) %% %d
	return wrk.format("GET", "/f-" .. i)
end
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def serve(work, root, files, seconds):
    """Requests per second of root/f-0 … in turn, 8 connections."""
    where = work + "/nginx"
    os.makedirs(where, exist_ok=True)
    port = free_port()
    with open(where + "/conf", "w") as f:
        f.write(CONFIG % {"dir": where, "port": port, "root": root})
    with open(where + "/script.lua", "w") as f:
        f.write(SCRIPT % files)
    nginx = subprocess.Popen(["nginx", "-e", where + "/error.log", "-c",
                              where + "/conf"])
    url = "http://127.0.0.1:%d" % port
    try:
        wait_until("nginx", lambda: subprocess.run(
            ["curl", "-sf", "-o", "/dev/null", url + "/f-0"]).returncode == 0)
        out = subprocess.run(
            ["wrk", "-t1", "-c8", "-d%ds" % max(1, round(seconds)),
             "-s", where + "/script.lua", url], check=True,
            stdout=subprocess.PIPE).stdout.decode()
    finally:
        nginx.terminate()
        nginx.wait()
    if "Non-2xx" in out:
        return None
    return float(re.search(r"Requests/sec:\s*([0-9.]+)", out).group(1))
