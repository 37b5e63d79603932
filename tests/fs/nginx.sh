#!/bin/sh
# SPDX-License-Identifier: MIT
# nginx on node B serves what is uploaded through node A.
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program nginx curl python3

port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')

body()
{
	mount_two
	mkdir -p "$work/nginx"
	cat >"$work/nginx/conf" <<-CONF
	daemon off;
	pid $work/nginx/pid;
	error_log $work/nginx/error.log;
	events {}
	http {
		access_log off;
		client_body_temp_path $work/nginx/b;
		proxy_temp_path $work/nginx/p;
		fastcgi_temp_path $work/nginx/f;
		uwsgi_temp_path $work/nginx/u;
		scgi_temp_path $work/nginx/s;
		sendfile on;
		server { listen 127.0.0.1:$port; root $B/www; }
	}
	CONF
	mkdir "$A/www"
	echo early >"$A/www/early"
	nginx -e "$work/nginx/error.log" -c "$work/nginx/conf" &
	nginx=$!
	test_pids="$test_pids $nginx"
	url=http://127.0.0.1:$port
	wait_until 10 nginx curl -sf -o /dev/null "$url/early"
	for size in 0 1 4096 100000 9000000; do
		head -c "$size" /dev/urandom >"$work/data"
		same "before" "$(curl -s -o /dev/null -w '%{http_code}' "$url/f$size")" 404
		cp "$work/data" "$A/www/f$size"
		curl -sSf "$url/f$size" | cmp - "$work/data"
	done
	curl -sSf -r 1000000-1099999 "$url/f9000000" >"$work/part"
	tail -c +1000001 "$work/data" | head -c 100000 | cmp - "$work/part"
	date=$(curl -sSfI "$url/f4096" | tr -d '\r' | sed -n 's/^Last-Modified: //p')
	same "not modified" "$(curl -s -o /dev/null -w '%{http_code}' \
		-H "If-Modified-Since: $date" "$url/f4096")" 304
	kill "$nginx"
	wait "$nginx" || :
}
each_store body
