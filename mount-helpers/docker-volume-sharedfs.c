/* SPDX-License-Identifier: MIT */
/*
 * Docker's volume plugin: volumes are directories of one share.
 *
 *   docker-volume-sharedfs [-o OPTIONS] SOURCE       mounts the share itself
 *   docker-volume-sharedfs --mounted DIR             uses the one mounted there
 *
 * dockerd asks by HTTP over a unix socket: POST /VolumeDriver.X with a JSON
 * object, answered by one with "Err".  Only root can reach the socket.
 *
 * Each connection has a thread.  `lock` protects the set of volumes; `mounting`
 * is taken before it by what mounts, so that a question never waits for the
 * store.
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"
#include "mount-helpers/volume-set.h"
#include "mount-helpers/volume-share.h"

#define SOCKET "/run/docker/plugins/sharedfs.sock"
#define STATE_DIR LOCALSTATEDIR "/lib/docker-volume-sharedfs"
#define BODY_MAX (64u * 1024)
#define CONNECTIONS_MAX 64
#define TYPE "application/vnd.docker.plugins.v1.2+json"
#define LISTEN_FDS_START 3 /* systemd's */

struct plugin {
	struct share share;
	struct volumes *volumes;
	pthread_mutex_t lock, mounting;
};

/* --- what dockerd asks --------------------------------------------------------- */

/* req: an object.  Fills reply; < 0: words become "Err". */
typedef int call_fn(struct plugin *p, json_t *req, json_t *reply,
		    struct err *err);

static const char *
text(json_t *req, const char *name)
{
	const char *s = json_string_value(json_object_get(req, name));

	return s ? s : "";
}

static int
activate(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	json_object_set_new(reply, "Implements", json_pack("[s]",
							   "VolumeDriver"));
	return 0;
}

static int
capabilities(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	json_object_set_new(reply, "Capabilities",
			    json_pack("{s:s}", "Scope", "global"));
	return 0;
}

static int
create(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = volumes_create(p->volumes, text(req, "Name"),
			   json_object_get(req, "Opts"), err);
	pthread_mutex_unlock(&p->lock);
	return r;
}

static json_t *
describe_locked(struct plugin *p, const char *name)
{
	_cleanup_free_ char *at = share_mountpoint(&p->share, name);
	size_t users = volumes_users(p->volumes, name);

	return json_pack("{s:s, s:s, s:s, s:{s:s, s:b, s:I}}", "Name", name,
			 "Mountpoint", users ? at : "", "CreatedAt",
			 volumes_created(p->volumes, name), "Status", "subdir",
			 volumes_subdir(p->volumes, name, NULL), "purge",
			 volumes_purge(p->volumes, name), "containers",
			 (json_int_t)users);
}

static int
get(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	const char *name = text(req, "Name");
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (volumes_subdir(p->volumes, name, err))
		json_object_set_new(reply, "Volume", describe_locked(p, name));
	else
		r = -ENOENT;
	pthread_mutex_unlock(&p->lock);
	return r;
}

struct listing {
	struct plugin *p;
	json_t *list;
};

static void
add_volume(void *arg, const char *name)
{
	struct listing *l = arg;

	json_array_append_new(l->list, describe_locked(l->p, name));
}

static int
list(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	struct listing l = { p, json_array() };

	pthread_mutex_lock(&p->lock);
	volumes_each(p->volumes, add_volume, &l);
	pthread_mutex_unlock(&p->lock);
	json_object_set_new(reply, "Volumes", l.list);
	return 0;
}

static int
path(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	const char *name = text(req, "Name");
	_cleanup_free_ char *at = share_mountpoint(&p->share, name);
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (!volumes_subdir(p->volumes, name, err))
		r = -ENOENT;
	else
		json_object_set_new(reply, "Mountpoint",
				    json_string(volumes_users(p->volumes, name)
							? at
							: ""));
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int
mount_volume(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	const char *name = text(req, "Name"), *subdir;
	_cleanup_free_ char *at = share_mountpoint(&p->share, name);
	_cleanup_free_ char *copy = NULL;
	int r;

	pthread_mutex_lock(&p->mounting);
	pthread_mutex_lock(&p->lock);
	subdir = volumes_subdir(p->volumes, name, err);
	copy = subdir ? xstrdup(subdir) : NULL;
	pthread_mutex_unlock(&p->lock);
	r = copy ? share_up(&p->share, err) : -ENOENT;
	if (r == 0)
		r = share_bind(&p->share, name, copy, err);
	if (r == 0) {
		pthread_mutex_lock(&p->lock);
		r = volumes_use(p->volumes, name, text(req, "ID"), err);
		pthread_mutex_unlock(&p->lock);
	}
	pthread_mutex_unlock(&p->mounting);
	if (r == 0)
		json_object_set_new(reply, "Mountpoint", json_string(at));
	return r;
}

/* dockerd can do nothing about a share that stays: no error of its call. */
static void
leave_share(struct plugin *p)
{
	_cleanup_err_ struct err err = ERR_INIT;

	if (share_down(&p->share, &err) < 0)
		log_warn("volume", "the share stays mounted: %s",
			 err_words(&err));
}

static int
unmount_volume(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	const char *name = text(req, "Name");
	size_t users = 0, all = 0;
	int r;

	pthread_mutex_lock(&p->mounting);
	pthread_mutex_lock(&p->lock);
	r = volumes_unuse(p->volumes, name, text(req, "ID"), err);
	if (r == 0) {
		users = volumes_users(p->volumes, name);
		all = volumes_all_users(p->volumes);
	}
	pthread_mutex_unlock(&p->lock);
	if (r == 0 && users == 0)
		share_unbind(&p->share, name);
	if (r == 0 && all == 0)
		leave_share(p);
	pthread_mutex_unlock(&p->mounting);
	return r;
}

static int
purge(struct plugin *p, const char *name, const char *subdir, size_t all,
      struct err *err)
{
	int r = share_up(&p->share, err);

	if (r == 0)
		r = share_purge(&p->share, subdir, err);
	if (all == 0)
		leave_share(p);
	return r;
}

static int
remove_volume(struct plugin *p, json_t *req, json_t *reply, struct err *err)
{
	const char *name = text(req, "Name"), *other = NULL;
	_cleanup_free_ char *subdir = NULL;
	size_t all;
	int r;

	pthread_mutex_lock(&p->mounting);
	pthread_mutex_lock(&p->lock);
	r = volumes_check_remove(p->volumes, name, err);
	if (r == 0 && volumes_purge(p->volumes, name)) {
		subdir = xstrdup(volumes_subdir(p->volumes, name, NULL));
		other = volumes_overlap(p->volumes, name);
	}
	if (other)
		r = err_set(err, -EBUSY,
			    "volume %s has purge=yes, but its data is also "
			    "that of volume %s",
			    name, other);
	all = volumes_all_users(p->volumes);
	pthread_mutex_unlock(&p->lock);
	if (r == 0)
		share_unbind(&p->share, name);
	if (r == 0 && subdir)
		r = purge(p, name, subdir, all, err);
	if (r == 0) {
		pthread_mutex_lock(&p->lock);
		r = volumes_remove(p->volumes, name, err);
		pthread_mutex_unlock(&p->lock);
	}
	pthread_mutex_unlock(&p->mounting);
	return r;
}

static const struct {
	const char *url;
	call_fn *call;
} calls[] = {
	{ "/Plugin.Activate", activate },
	{ "/VolumeDriver.Capabilities", capabilities },
	{ "/VolumeDriver.Create", create },
	{ "/VolumeDriver.Get", get },
	{ "/VolumeDriver.List", list },
	{ "/VolumeDriver.Mount", mount_volume },
	{ "/VolumeDriver.Path", path },
	{ "/VolumeDriver.Remove", remove_volume },
	{ "/VolumeDriver.Unmount", unmount_volume },
};

/* --- HTTP ------------------------------------------------------------------------ */

struct request {
	struct buf body;
	bool too_long;
};

static enum MHD_Result
send_reply(struct MHD_Connection *conn, unsigned status, json_t *reply)
{
	char *s = json_dumps(reply, JSON_COMPACT);
	struct MHD_Response *r = MHD_create_response_from_buffer(
		s ? strlen(s) : 0, s, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result rc;

	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, TYPE);
	rc = MHD_queue_response(conn, status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result
refuse(struct MHD_Connection *conn, unsigned status, const char *words)
{
	json_t *reply = json_pack("{s:s}", "Err", words);
	enum MHD_Result rc = send_reply(conn, status, reply);

	json_decref(reply);
	return rc;
}

static enum MHD_Result
answer(struct plugin *p, struct MHD_Connection *conn, const char *url,
       struct request *rq)
{
	_cleanup_err_ struct err err = ERR_INIT;
	json_t *req, *reply;
	enum MHD_Result rc;
	call_fn *call = NULL;
	int r;

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		if (strcmp(calls[i].url, url) == 0)
			call = calls[i].call;
	}
	if (!call)
		return refuse(conn, MHD_HTTP_NOT_FOUND, "no such call");
	if (rq->too_long)
		return refuse(conn, MHD_HTTP_CONTENT_TOO_LARGE,
			      "the request is too long");
	req = rq->body.len ? json_loadb(rq->body.s, rq->body.len, 0, NULL)
			   : json_object();
	if (!json_is_object(req)) {
		json_decref(req);
		return refuse(conn, MHD_HTTP_BAD_REQUEST,
			      "the request is no JSON object");
	}
	reply = json_object();
	r = call(p, req, reply, &err);
	json_object_set_new(reply, "Err",
			    json_string(r < 0 ? err_words(&err) : ""));
	if (r < 0 && r != -ENOENT)
		log_warn("volume", "%s %s: %s", url, text(req, "Name"),
			 err_words(&err));
	rc = send_reply(conn, MHD_HTTP_OK, reply);
	json_decref(req);
	json_decref(reply);
	return rc;
}

static enum MHD_Result
on_request(void *arg, struct MHD_Connection *conn, const char *url,
	   const char *method, const char *version, const char *data,
	   size_t *size, void **state)
{
	struct request *rq = *state;

	if (!rq) {
		*state = xcalloc(1, sizeof(*rq));
		return MHD_YES;
	}
	if (*size) {
		if (rq->body.len + *size > BODY_MAX)
			rq->too_long = true;
		else
			buf_add(&rq->body, data, *size);
		*size = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
		return refuse(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "use POST");
	return answer(arg, conn, url, rq);
}

static void
on_end(void *arg, struct MHD_Connection *conn, void **state,
       enum MHD_RequestTerminationCode why)
{
	struct request *rq = *state;

	if (rq)
		buf_release(&rq->body);
	free(rq);
	*state = NULL;
}

/* systemd's socket, or one of our own. */
static int
listen_on(const char *path, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	_cleanup_close_ int fd = -1;
	mode_t old;
	int r;

	if (pid && fds && strtol(pid, NULL, 10) == getpid() &&
	    strtol(fds, NULL, 10) == 1)
		return LISTEN_FDS_START;
	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: too long", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return err_set(err, -EADDRINUSE, "%s: another plugin listens",
			       path);
	unlink(path);
	old = umask(0177);
	r = fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(fd, CONNECTIONS_MAX) < 0;
	umask(old);
	if (r)
		return err_set(err, -errno, "%s: %s", path, strerror(errno));
	return steal_fd(&fd);
}

static int
serve(struct plugin *p, int fd, struct err *err)
{
	struct MHD_Daemon *d;
	sigset_t end;
	int sig;

	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	pthread_sigmask(SIG_BLOCK, &end, NULL);
	signal(SIGPIPE, SIG_IGN);
	d = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION |
				     MHD_USE_INTERNAL_POLLING_THREAD |
				     MHD_USE_ERROR_LOG | MHD_USE_ITC,
			     0, NULL, NULL, on_request, p,
			     MHD_OPTION_LISTEN_SOCKET, fd,
			     MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
			     MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL,
			     MHD_OPTION_END);
	if (!d)
		return err_set(err, -EIO, "the HTTP server does not start");
	while (sigwait(&end, &sig) != 0)
		;
	/* The mounts stay: containers use them, and the next one of us knows
	 * them from the state. */
	MHD_stop_daemon(d);
	return 0;
}

/* --- the command line -------------------------------------------------------------- */

static int
usage(FILE *f)
{
	fputs("usage: docker-volume-sharedfs [-o OPTIONS] [--socket PATH] "
	      "[--state DIR] SOURCE\n"
	      "       docker-volume-sharedfs --mounted DIR [--socket PATH] "
	      "[--state DIR]\n"
	      "SOURCE and OPTIONS are those of mount.sharedfs(8).\n",
	      f);
	return f == stdout ? EXIT_SUCCESS : 2;
}

static int
make_dir(const char *dir, struct err *err)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set(err, -errno, "%s: %s", dir, strerror(errno));
	return 0;
}

static int
set_up(struct plugin *p, const char *state, const char *mounted,
       struct err *err)
{
	_cleanup_free_ char *file = xasprintf("%s/volumes.json", state);
	int r = make_dir(state, err);

	p->share.mounts = xasprintf("%s/mounts", state);
	p->share.dir = mounted ? xstrdup(mounted)
			       : xasprintf("%s/share", state);
	if (r == 0)
		r = make_dir(p->share.mounts, err);
	if (r == 0 && !mounted)
		r = make_dir(p->share.dir, err);
	if (r == -EEXIST || r == 0)
		r = volumes_open(file, &p->volumes, err);
	return r;
}

int
main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "mounted", required_argument, NULL, 'm' },
		{ "socket", required_argument, NULL, 's' },
		{ "state", required_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	struct plugin p = { .lock = PTHREAD_MUTEX_INITIALIZER,
			    .mounting = PTHREAD_MUTEX_INITIALIZER };
	const char *socket_path = SOCKET, *state = STATE_DIR, *mounted = NULL;
	_cleanup_err_ struct err err = ERR_INIT;
	int opt, fd, r;

	while ((opt = getopt_long(argc, argv, "ho:V", longs, NULL)) != -1) {
		switch (opt) {
		case 'h':
			return usage(stdout);
		case 'V':
			printf("docker-volume-sharedfs (%s)\n", PACKAGE_STRING);
			return EXIT_SUCCESS;
		case 'm':
			mounted = optarg;
			break;
		case 'o':
			p.share.options = optarg;
			break;
		case 's':
			socket_path = optarg;
			break;
		case 'd':
			state = optarg;
			break;
		default:
			return usage(stderr);
		}
	}
	if (argc - optind != (mounted ? 0 : 1) || (mounted && p.share.options))
		return usage(stderr);
	p.share.source = mounted ? NULL : argv[optind];
	r = set_up(&p, state, mounted, &err);
	fd = r < 0 ? r : listen_on(socket_path, &err);
	if (fd >= 0)
		r = serve(&p, fd, &err);
	if (fd < 0 || r < 0)
		fprintf(stderr, "docker-volume-sharedfs: %s\n",
			err_words(&err));
	volumes_free(p.volumes);
	free(p.share.dir);
	free(p.share.mounts);
	return fd < 0 || r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
