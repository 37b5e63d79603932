/* SPDX-License-Identifier: MIT */
/* sharedfs: which command, with which options. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "fs/client.h"
#include "fs/doctor.h"
#include "fs/exe.h"
#include "fs/mount.h"
#include "fs/options.h"
#include "fs/recover.h"
#include "fs/supervisor.h"
#include "fs/worker.h"

#define EXIT_USAGE 2

static const char usage_text[] =
	"usage: sharedfs mount SOURCE DIR [-f] [-o option[,option...]] "
	"[--option=value...]\n"
	"       sharedfs umount [-f] [-l] DIR\n"
	"       sharedfs status [--json|--check] DIR\n"
	"       sharedfs upgrade DIR\n"
	"       sharedfs reload DIR [-o option[,option...]]\n"
	"       sharedfs recover list|show|save|discard DIR|CACHE_DIR ...\n"
	"       sharedfs doctor SOURCE|DIR\n"
	"       sharedfs --help | --version\n"
	"\n"
	"SOURCE is s3://bucket[/prefix] or file:///directory.\n";

/* One command line: two places at most, flags and options in any order. */
struct call {
	struct options opt;
	const char *place[2];
	int places;
	bool flag_f, flag_l, json, check;
};

static int
bad_usage(const char *what, const char *command)
{
	fprintf(stderr, "sharedfs: %s%s\n(sharedfs --help tells more)\n", what,
		command);
	return EXIT_USAGE;
}

static int
add_long(struct call *c, const char *arg, struct err *err)
{
	const char *value = strchr(arg, '=');
	char name[64];

	if (!value)
		return options_add(&c->opt, arg, NULL, err);
	if ((size_t)(value - arg) >= sizeof(name))
		return err_set(err, -EINVAL, "unknown option '%s'", arg);
	memcpy(name, arg, value - arg);
	name[value - arg] = '\0';
	return options_add(&c->opt, name, value + 1, err);
}

static int
parse(struct call *c, int argc, char **argv, struct err *err)
{
	bool only_places = false;

	for (int i = 0; i < argc; i++) {
		const char *a = argv[i];
		int r = 0;

		if (only_places || a[0] != '-' || !a[1]) {
			if (c->places == 2)
				return err_set(err, -EINVAL,
					       "too many arguments: '%s'", a);
			c->place[c->places++] = a;
		} else if (strcmp(a, "--") == 0) {
			only_places = true;
		} else if (strcmp(a, "-f") == 0) {
			c->flag_f = true;
		} else if (strcmp(a, "-l") == 0) {
			c->flag_l = true;
		} else if (strcmp(a, "--json") == 0) {
			c->json = true;
		} else if (strcmp(a, "--check") == 0) {
			c->check = true;
		} else if (strcmp(a, "-o") == 0) {
			if (++i == argc)
				return err_set(err, -EINVAL,
					       "-o needs a list of options");
			r = options_add_list(&c->opt, argv[i], err);
		} else if (strncmp(a, "-o", 2) == 0) {
			r = options_add_list(&c->opt, a + 2, err);
		} else if (strncmp(a, "--", 2) == 0) {
			r = add_long(c, a + 2, err);
		} else {
			return err_set(err, -EINVAL, "unknown flag '%s'", a);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int
run(const char *command, struct call *c)
{
	if (strcmp(command, "mount") == 0) {
		if (c->places != 2)
			return bad_usage("SOURCE and DIR are needed for ", command);
		return mount_command(c->place[0], c->place[1], &c->opt,
				     c->flag_f);
	}
	if (c->places != 1)
		return bad_usage("one argument is needed for ", command);
	if (strcmp(command, "umount") == 0)
		return client_umount(c->place[0], c->flag_f, c->flag_l);
	if (strcmp(command, "reload") == 0)
		return client_reload(c->place[0], c->opt.nset ? &c->opt : NULL);
	if (strcmp(command, "upgrade") == 0)
		return client_upgrade(c->place[0]);
	if (strcmp(command, "status") == 0)
		return client_status(c->place[0], c->json  ? CLIENT_JSON :
						  c->check ? CLIENT_CHECK :
							     CLIENT_TEXT);
	return doctor_command(c->place[0], &c->opt);
}

static int
print_help(void)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	options_help(&b);
	printf("%s\n%s", usage_text, buf_str(&b));
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Descriptors 0 to 2 must be taken, or /dev/fuse becomes stderr.  What else
 * the caller has open is not for a daemon to hold for years. */
static void
tidy_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, 0);
}

int
main(int argc, char **argv)
{
	static const char *const commands[] = { "mount", "umount", "status",
						"reload", "upgrade", "doctor" };
	_cleanup_err_ struct err err = ERR_INIT;
	const char *command = argc > 1 ? argv[1] : "";
	struct call c = { .places = 0 };
	bool known = false;
	int code;

	if (strcmp(command, WORKER_ARG) == 0)
		return worker_main(argc, argv);
	if (strcmp(command, EXE_CHECK_ARG) == 0)
		return exe_check_main();
	if (strcmp(command, SUPERVISOR_ARG) == 0)
		return supervisor_again_main(argc, argv);
	tidy_fds();
	if (strcmp(command, "--help") == 0 || strcmp(command, "help") == 0 ||
	    strcmp(command, "-h") == 0)
		return print_help();
	if (strcmp(command, "--version") == 0 || strcmp(command, "-V") == 0) {
		printf("sharedfs %s\n", PACKAGE_VERSION);
		return EXIT_SUCCESS;
	}
	if (strcmp(command, "recover") == 0)
		return recover_command(argc - 2, argv + 2);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		known |= strcmp(command, commands[i]) == 0;
	if (!*command) {
		fputs(usage_text, stderr);
		return EXIT_USAGE;
	}
	if (!known)
		return bad_usage("there is no command ", command);
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0)
			return print_help();
	}
	if (options_init(&c.opt, &err) < 0) {
		fprintf(stderr, "sharedfs: %s\n", err_words(&err));
		return EXIT_USAGE;
	}
	if (parse(&c, argc - 2, argv + 2, &err) < 0)
		code = bad_usage(err_words(&err), "");
	else
		code = run(command, &c);
	options_release(&c.opt);
	return code;
}
