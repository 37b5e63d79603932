/* SPDX-License-Identifier: MIT */
/*
 * One client's connection through the test proxy and its twin to the server.
 * Bytes wait in a queue with the time at which they are due, so that delay
 * costs no throughput; requests and replies are watched on the way, and
 * faults are done to them.
 */
#ifndef TESTS_LIB_PROXY_CONN_H
#define TESTS_LIB_PROXY_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "tests/lib/proxy-fault.h"

struct conn;

/* What epoll hands back. */
struct side {
	struct conn *c;
	int fd;		 /* -1 = closed */
	uint32_t events; /* as registered */
	bool registered;
};

LIST_HEAD(conns, conn);

struct count {
	char *class;
	unsigned long n;
};

struct proxy {
	int epoll;
	struct sockaddr_storage target;
	socklen_t target_len;
	bool opaque;	   /* --tcp: bytes are not looked at */
	int64_t delay;	   /* one way, ns */
	int64_t bandwidth; /* bytes per second and direction, 0 = any */
	int64_t free_at[2];
	bool paused; /* nothing is passed on */
	struct faults faults;
	struct count *counts;
	size_t ncounts;
	unsigned asked, asked_most; /* requests without an answer */
	FILE *log; /* NULL = none */
	struct conns conns, dead;
};

/* Takes over fd, a client's accepted socket, also on failure. */
void conn_new(struct proxy *p, int fd);
void conn_event(struct side *s, uint32_t events);
unsigned conns_count(const struct proxy *p);
/* Cuts all connections, with RST. */
void conns_kill(struct proxy *p);
/* After paused was cleared: what waited is due now. */
void conns_resume(struct proxy *p);
/* Passes on what is due; returns when to be called again, INT64_MAX = when
 * something happens. */
int64_t conns_flush(struct proxy *p);
/* Frees what ended; call when no struct side is in use any more. */
void conns_reap(struct proxy *p);

#endif
