/* SPDX-License-Identifier: MIT */
/* The command line of migrate-local-uploads. */
#include <config.h>

#include "mount-helpers/migrate-priv.h"

#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/units.h"

static const char usage_text[] =
	"usage: migrate-local-uploads DIR SOURCE [options] [-o option,...]\n"
	"\n"
	"Copies the directory DIR into the share SOURCE (s3://bucket[/prefix] or\n"
	"file:///directory) while programs go on using it.\n"
	"\n"
	"  --dry-run             look at everything, say what would happen, stop\n"
	"  --merge               SOURCE has files of other hosts already\n"
	"  --on-collision=rename carry a file whose name is taken by other content\n"
	"                        beside it (default: list it, exit 3)\n"
	"  --follow[=TIME]       go on carrying what changes, until a signal\n"
	"  --cutover[=wait]      then put the share in DIR's place (wait: at Enter)\n"
	"  --max-lag=TIME        how far behind the copy may be at the cut-over (3)\n"
	"  --late=TIME           how long programs may hold old files open (60)\n"
	"  --write-fstab         add the share to /etc/fstab\n"
	"  --undo[=alone]        take the share away again, with what changed in it\n"
	"                        (alone: other nodes go on writing to it)\n"
	"  --verify              read all of the store again and compare\n"
	"  --report=FILE         write a report (JSON)\n"
	"  --progress=plain|none lines for a log, or nothing\n"
	"  --jobs=N              files that are under way at a time\n"
	"  --bwlimit=SIZE        bytes a second that are read\n"
	"  --iops=N              files a second\n"
	"  --throttle=off        don't give way to other programs\n"
	"  --state=DIR           where the journal is\n"
	"  -o, --NAME=VALUE      options of the store as for `sharedfs mount`\n"
	"\n"
	"The same command again goes on where it was interrupted.\n"
	"Exit: 0 done, 1 failed, 2 usage or preflight, 3 some not carried,\n"
	"4 verify mismatch, 5 the source was still changing.\n";

const char *
mig_args_usage(void)
{
	return usage_text;
}

/* The value of "--name=value"; NULL: it is another option. */
static const char *
value_of(const char *arg, const char *name)
{
	size_t n = strlen(name);

	if (strncmp(arg, name, n) == 0 && arg[n] == '=')
		return arg + n + 1;
	return NULL;
}

static int
bad_value(struct err *err, const char *name, const char *v, const char *words)
{
	return err_set(err, -EINVAL, "%s=%s: %s", name, v, words);
}

static int
set_number(const char *name, const char *v, unsigned max, unsigned *out,
	   struct err *err)
{
	uint64_t n;

	if (units_uint(v, &n) < 0 || n < 1 || n > max)
		return err_set(err, -EINVAL,
			       "%s=%s: a number from 1 to %u is needed", name,
			       v, max);
	*out = n;
	return 0;
}

static int
set_time(const char *name, const char *v, int64_t *out, struct err *err)
{
	if (units_duration(v, out) < 0)
		return bad_value(err, name, v, "a time such as 30 or 5m is "
					       "needed");
	return 0;
}

/* 1: it was one of ours.  0: not. */
static int
own_option(struct mig_args *a, const char *arg, struct err *err)
{
	const char *v;
	int r = 0;

	if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
		a->help = true;
	} else if (strcmp(arg, "--version") == 0) {
		a->version = true;
	} else if (strcmp(arg, "--dry-run") == 0 || strcmp(arg, "-n") == 0) {
		a->dry_run = true;
	} else if (strcmp(arg, "--verify") == 0) {
		a->verify = true;
	} else if (strcmp(arg, "--merge") == 0) {
		a->merge = true;
	} else if (strcmp(arg, "--undo") == 0) {
		a->undo = true;
	} else if ((v = value_of(arg, "--undo"))) {
		if (strcmp(v, "alone") != 0)
			return bad_value(err, "--undo", v,
					 "nothing or alone is needed");
		a->undo = a->alone = true;
	} else if (strcmp(arg, "--write-fstab") == 0) {
		a->write_fstab = true;
	} else if (strcmp(arg, "--cutover") == 0) {
		a->cutover = MIG_CUT_NOW;
	} else if ((v = value_of(arg, "--cutover"))) {
		if (strcmp(v, "wait") != 0)
			return bad_value(err, "--cutover", v,
					 "nothing or wait is needed");
		a->cutover = MIG_CUT_WAIT;
	} else if (strcmp(arg, "--follow") == 0) {
		a->follow = true;
	} else if ((v = value_of(arg, "--follow"))) {
		a->follow = true;
		r = set_time("--follow", v, &a->follow_ns, err);
	} else if ((v = value_of(arg, "--late"))) {
		r = set_time("--late", v, &a->late_ns, err);
	} else if ((v = value_of(arg, "--max-lag"))) {
		r = set_time("--max-lag", v, &a->lag_ns, err);
	} else if ((v = value_of(arg, "--on-collision"))) {
		if (strcmp(v, "rename") != 0 && strcmp(v, "list") != 0)
			return bad_value(err, "--on-collision", v,
					 "list or rename is needed");
		a->collision_rename = strcmp(v, "rename") == 0;
	} else if ((v = value_of(arg, "--report"))) {
		a->report = v;
	} else if ((v = value_of(arg, "--state"))) {
		a->state = v;
	} else if ((v = value_of(arg, "--progress"))) {
		if (strcmp(v, "auto") == 0)
			a->progress = MIG_PROGRESS_AUTO;
		else if (strcmp(v, "plain") == 0)
			a->progress = MIG_PROGRESS_PLAIN;
		else if (strcmp(v, "none") == 0)
			a->progress = MIG_PROGRESS_NONE;
		else
			return bad_value(err, "--progress", v,
					 "auto, plain or none is needed");
	} else if ((v = value_of(arg, "--bwlimit"))) {
		if (units_size(v, &a->bwlimit) < 0 || a->bwlimit == 0)
			return bad_value(err, "--bwlimit", v,
					 "a size such as 20M is needed");
	} else if ((v = value_of(arg, "--iops"))) {
		if (units_uint(v, &a->iops) < 0 || a->iops == 0)
			return bad_value(err, "--iops", v,
					 "a number is needed");
	} else if ((v = value_of(arg, "--throttle"))) {
		if (strcmp(v, "adaptive") != 0 && strcmp(v, "off") != 0)
			return bad_value(err, "--throttle", v,
					 "adaptive or off is needed");
		a->adaptive = strcmp(v, "adaptive") == 0;
	} else if ((v = value_of(arg, "--jobs"))) {
		r = set_number("--jobs", v, 256, &a->jobs, err);
	} else {
		return 0;
	}
	return r < 0 ? r : 1;
}

/* "--endpoint=…": an option of the mount. */
static int
mount_option(struct mig_args *a, const char *arg, struct err *err)
{
	const char *value = strchr(arg, '=');
	char name[64];

	if (!value)
		return options_add(&a->opt, arg, NULL, err);
	if ((size_t)(value - arg) >= sizeof(name))
		return err_set(err, -EINVAL, "unknown option '--%s'", arg);
	memcpy(name, arg, value - arg);
	name[value - arg] = '\0';
	return options_add(&a->opt, name, value + 1, err);
}

static int
parse(struct mig_args *a, int argc, char **argv, struct err *err)
{
	const char *place[2] = { NULL, NULL };
	bool only_places = false;
	int places = 0;

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];
		int r;

		if (only_places || arg[0] != '-' || !arg[1]) {
			if (places == 2)
				return err_set(err, -EINVAL,
					       "too many arguments: '%s'", arg);
			place[places++] = arg;
			continue;
		}
		if (strcmp(arg, "--") == 0) {
			only_places = true;
			continue;
		}
		r = own_option(a, arg, err);
		if (r == 1)
			continue;
		if (r == 0 && strcmp(arg, "-o") == 0) {
			if (++i == argc)
				return err_set(err, -EINVAL,
					       "-o needs a list of options");
			r = options_add_list(&a->opt, argv[i], err);
		} else if (r == 0 && strncmp(arg, "-o", 2) == 0) {
			r = options_add_list(&a->opt, arg + 2, err);
		} else if (r == 0 && strncmp(arg, "--", 2) == 0) {
			r = mount_option(a, arg + 2, err);
		} else if (r == 0) {
			r = err_set(err, -EINVAL, "unknown flag '%s'", arg);
		}
		if (r < 0)
			return r;
	}
	if (a->help || a->version)
		return 0;
	if (places != 2)
		return err_set(err, -EINVAL, "DIR and SOURCE are needed");
	if (a->undo && (a->cutover || a->follow || a->merge || a->dry_run))
		return err_set(err, -EINVAL,
			       "--undo goes with none of --cutover, --follow, "
			       "--merge and --dry-run");
	if (a->write_fstab && !a->cutover)
		return err_set(err, -EINVAL,
			       "--write-fstab is a part of --cutover");
	a->dir = place[0];
	a->source = place[1];
	return 0;
}

int
mig_args_parse(struct mig_args *a, int argc, char **argv, struct err *err)
{
	int r;

	memset(a, 0, sizeof(*a));
	a->adaptive = true;
	a->late_ns = 60 * NSEC_PER_SEC;
	a->lag_ns = 3 * NSEC_PER_SEC;
	r = options_init(&a->opt, err);
	if (r < 0)
		return r;
	r = parse(a, argc, argv, err);
	if (r < 0)
		options_release(&a->opt);
	return r;
}

void
mig_args_release(struct mig_args *a)
{
	options_release(&a->opt);
}
