/* SPDX-License-Identifier: MIT */
/*
 * A TCP and HTTP proxy for the tests: delay, bandwidth, counted requests and
 * faults, between a client and a server on this machine.
 *
 *   proxy --target HOST:PORT --control SOCKET [--tcp] [--delay MS]
 *         [--bandwidth BYTES] [--log FILE]
 *       listens on a free port of 127.0.0.1, prints it, and stays
 *   proxy --send SOCKET COMMAND…
 *       gives one command and prints the answer
 *
 * Commands: count · reset · delay MS (a round trip) · bandwidth BYTES (per
 * second) · fault … (proxy-fault.h) · clear · hits · kill (cut all
 * connections) · down, up (refuse connections) · pause, resume (pass nothing
 * on) · target HOST:PORT · conns · most (requests that waited for their answers at
 * one time, since reset).  SIGUSR1 prints the counts.  With --tcp the
 * bytes are not looked at (https).
 */
#include <config.h>

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/xalloc.h"
#include "tests/lib/proxy-conn.h"

struct server {
	struct proxy p;
	int listener; /* -1 = down */
	uint16_t port;
	int control, timer, signals;
	/* Tags for epoll: their addresses. */
	char is_listener, is_control, is_timer, is_signals;
	bool stop;
};

static void
die(const char *what)
{
	fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
watch(struct server *s, int fd, void *tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};

	if (epoll_ctl(s->p.epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll_ctl");
}

static int
set_target(struct proxy *p, const char *text, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	_cleanup_free_ char *host = xstrdup(text);
	char *colon = strrchr(host, ':');
	int rc;

	if (!colon)
		return err_set(err, -EINVAL, "%s is not HOST:PORT", text);
	*colon = '\0';
	rc = getaddrinfo(host, colon + 1, &hints, &ai);
	if (rc)
		return err_set(err, -EINVAL, "%s: %s", text, gai_strerror(rc));
	memcpy(&p->target, ai->ai_addr, ai->ai_addrlen);
	p->target_len = ai->ai_addrlen;
	freeaddrinfo(ai);
	return 0;
}

/* Port 0: any free one; else the one it had before `down`. */
static void
listen_tcp(struct server *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(s->port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int one = 1;

	s->listener =
		socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s->listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(s->listener, 1024) < 0 ||
	    getsockname(s->listener, (struct sockaddr *)&a, &len) < 0)
		die("listen");
	s->port = ntohs(a.sin_port);
	watch(s, s->listener, &s->is_listener);
}

static struct sockaddr_un
unix_address(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(a.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(a.sun_path, path, strlen(path) + 1);
	return a;
}

static void
listen_control(struct server *s, const char *path)
{
	struct sockaddr_un a = unix_address(path);

	unlink(path);
	s->control =
		socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bind(s->control, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(s->control, 16) < 0)
		die(path);
	watch(s, s->control, &s->is_control);
}

static void
print_counts(const struct proxy *p, struct buf *out)
{
	unsigned long total = 0;

	for (size_t i = 0; i < p->ncounts; i++) {
		buf_addf(out, "%s %lu\n", p->counts[i].class, p->counts[i].n);
		total += p->counts[i].n;
	}
	buf_addf(out, "total %lu\n", total);
}

static int
command(struct server *s, const char *line, struct buf *out, struct err *err)
{
	size_t n = strcspn(line, " ");
	const char *arg = line + n + strspn(line + n, " ");
	struct proxy *p = &s->p;

#define IS(word) (n == strlen(word) && !strncmp(line, word, n))
	if (IS("count")) {
		print_counts(p, out);
		return 0;
	}
	if (IS("hits")) {
		buf_addf(out, "%u\n", p->faults.hits);
		return 0;
	}
	if (IS("conns")) {
		buf_addf(out, "%u\n", conns_count(p));
		return 0;
	}
	if (IS("most")) {
		buf_addf(out, "%u\n", p->asked_most);
		return 0;
	}
	if (IS("reset")) {
		p->asked_most = p->asked;
		for (size_t i = 0; i < p->ncounts; i++)
			p->counts[i].n = 0;
		p->faults.hits = 0;
	} else if (IS("delay")) {
		p->delay = (int64_t)(strtod(arg, NULL) * NSEC_PER_MSEC / 2);
	} else if (IS("bandwidth")) {
		p->bandwidth = strtoll(arg, NULL, 10);
	} else if (IS("fault")) {
		return faults_add(&p->faults, arg, err);
	} else if (IS("clear")) {
		faults_clear(&p->faults);
	} else if (IS("kill")) {
		conns_kill(p);
	} else if (IS("down")) {
		if (s->listener >= 0)
			close(s->listener);
		s->listener = -1;
		conns_kill(p);
	} else if (IS("up")) {
		if (s->listener < 0)
			listen_tcp(s);
	} else if (IS("pause")) {
		p->paused = true;
	} else if (IS("resume")) {
		p->paused = false;
		conns_resume(p);
	} else if (IS("target")) {
		return set_target(p, arg, err);
	} else {
		return err_set(err, -EINVAL, "no such command: %s", line);
	}
#undef IS
	return 0;
}

/* One command per connection; the clients are our own tests, so waiting a
 * moment for the line is no harm. */
static void
serve_control(struct server *s)
{
	_cleanup_close_ int fd = accept4(s->control, NULL, NULL, SOCK_CLOEXEC);
	struct timeval limit = {.tv_sec = 1};
	_cleanup_buf_ struct buf line = BUF_INIT, out = BUF_INIT;
	_cleanup_err_ struct err err = ERR_INIT;
	char c;

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	while (read(fd, &c, 1) == 1 && c != '\n')
		buf_addch(&line, c);
	if (command(s, buf_str(&line), &out, &err) < 0)
		buf_addf(&out, "error: %s\n", err_words(&err));
	if (send(fd, buf_str(&out), out.len, MSG_NOSIGNAL) < 0)
		fprintf(stderr, "proxy: control: %s\n", strerror(errno));
}

static int
send_command(const char *path, char **words)
{
	struct sockaddr_un a = unix_address(path);
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_buf_ struct buf line = BUF_INIT, out = BUF_INIT;
	char block[4096];
	ssize_t n;

	for (; *words; words++)
		buf_addf(&line, "%s%s", *words, words[1] ? " " : "\n");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    send(fd, buf_str(&line), line.len, MSG_NOSIGNAL) < 0)
		die(path);
	while ((n = read(fd, block, sizeof(block))) > 0)
		buf_add(&out, block, (size_t)n);
	fputs(buf_str(&out), stdout);
	return strncmp(buf_str(&out), "error:", 6) ? 0 : 1;
}

static void
serve_signal(struct server *s)
{
	struct signalfd_siginfo info;
	_cleanup_buf_ struct buf out = BUF_INIT;

	if (read(s->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGUSR1) {
		s->stop = true;
		return;
	}
	print_counts(&s->p, &out);
	fputs(buf_str(&out), stdout);
	fflush(stdout);
}

static void
set_timer(struct server *s, int64_t at)
{
	struct itimerspec t = {0};

	if (at != INT64_MAX)
		t.it_value = ns_timespec(at > 0 ? at : 1);
	timerfd_settime(s->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static void
serve(struct server *s)
{
	struct epoll_event ev[64];
	uint64_t ticks;
	int n, fd;

	while (!s->stop) {
		set_timer(s, conns_flush(&s->p));
		conns_reap(&s->p);
		n = epoll_wait(s->p.epoll, ev, 64, -1);
		for (int i = 0; i < n; i++) {
			void *tag = ev[i].data.ptr;

			if (tag == &s->is_listener) {
				fd = accept4(s->listener, NULL, NULL,
					     SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (fd >= 0)
					conn_new(&s->p, fd);
			} else if (tag == &s->is_control) {
				serve_control(s);
			} else if (tag == &s->is_signals) {
				serve_signal(s);
			} else if (tag == &s->is_timer) {
				if (read(s->timer, &ticks, sizeof(ticks)) < 0)
					continue;
			} else {
				conn_event(tag, ev[i].events);
			}
		}
	}
}

static void
usage(void)
{
	fputs("usage: proxy --target HOST:PORT --control SOCKET [--tcp] "
	      "[--delay MS]\n"
	      "             [--bandwidth BYTES] [--log FILE]\n"
	      "       proxy --send SOCKET COMMAND…\n"
	      "Faults ([match=CLASS] [path=PART] [n=COUNT|all] [skip=N] "
	      "KIND[=ARG]):\n"
#define KIND(symbol, name, help) "  " name " (" help ")\n"
	      FAULT_KINDS(KIND)
#undef KIND
		      ,
	      stderr);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"target", required_argument, NULL, 't'},
		{"control", required_argument, NULL, 'c'},
		{"tcp", no_argument, NULL, 'o'},
		{"delay", required_argument, NULL, 'd'},
		{"bandwidth", required_argument, NULL, 'b'},
		{"log", required_argument, NULL, 'l'},
		{"send", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	struct server s = {.listener = -1};
	_cleanup_err_ struct err err = ERR_INIT;
	const char *control = NULL;
	sigset_t set;
	int c;

	faults_init(&s.p.faults);
	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (c) {
		case 't':
			if (set_target(&s.p, optarg, &err) < 0) {
				fprintf(stderr, "proxy: %s\n", err_words(&err));
				return 2;
			}
			break;
		case 'c':
			control = optarg;
			break;
		case 'o':
			s.p.opaque = true;
			break;
		case 'd':
			s.p.delay = (int64_t)(strtod(optarg, NULL) *
					      NSEC_PER_MSEC / 2);
			break;
		case 'b':
			s.p.bandwidth = strtoll(optarg, NULL, 10);
			break;
		case 'l':
			s.p.log = fopen(optarg, "ae");
			if (!s.p.log)
				die(optarg);
			break;
		case 's':
			return send_command(optarg, argv + optind);
		default:
			usage();
		}
	}
	if (!control || !s.p.target_len || optind != argc)
		usage();

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s.p.epoll = epoll_create1(EPOLL_CLOEXEC);
	s.signals = signalfd(-1, &set, SFD_CLOEXEC);
	s.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	watch(&s, s.signals, &s.is_signals);
	watch(&s, s.timer, &s.is_timer);
	listen_control(&s, control);
	listen_tcp(&s);
	printf("%u\n", s.port);
	fflush(stdout);
	serve(&s);

	conns_kill(&s.p);
	conns_reap(&s.p);
	faults_clear(&s.p.faults);
	for (size_t i = 0; i < s.p.ncounts; i++)
		free(s.p.counts[i].class);
	free(s.p.counts);
	if (s.p.log)
		fclose(s.p.log);
	unlink(control);
	return 0;
}
