#!/bin/sh
# SPDX-License-Identifier: MIT
# SQLite with a rollback journal on the mount, from one node at a time [L.3].
. "${abs_srcdir:?use ./run}/tests/lib/lib.sh"
need_mount
need_program sqlite3

rows=200
! quick || rows=40
body()
{
	mount_two
	db=$A/test.db
	sqlite3 "$db" 'PRAGMA journal_mode=DELETE;
		CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
		CREATE INDEX i ON t(v);' >"$work/out"
	# One transaction, and one journal file, for each row.
	i=0
	while [ "$i" -lt "$rows" ]; do
		i=$((i + 1))
		echo "INSERT INTO t(v) VALUES (hex(randomblob(200)));"
		[ $((i % 10)) != 0 ] || echo "UPDATE t SET v = v || 'x' WHERE id % 7 = 0;"
		[ $((i % 25)) != 0 ] || echo "BEGIN; DELETE FROM t; ROLLBACK;"
	done >"$work/sql"
	sqlite3 "$db" <"$work/sql"
	for d in "$A" "$B"; do
		same "integrity" "$(sqlite3 "$d/test.db" 'PRAGMA integrity_check')" ok
		same "rows" "$(sqlite3 "$d/test.db" 'SELECT count(*) FROM t')" "$rows"
	done
	same "no journal is left" "$(ls "$A")" test.db
	sqlite3 "$B/test.db" 'DELETE FROM t WHERE id % 2; VACUUM;'
	same "integrity after B" "$(sqlite3 "$db" 'PRAGMA integrity_check')" ok
	same "rows after B" "$(sqlite3 "$db" 'SELECT count(*) FROM t')" $((rows / 2))
}
each_store body
