/* SPDX-License-Identifier: MIT */
/*
 * From a URL to a store.  A file of its own: who makes his store himself
 * (tests) is not linked with all of them.
 */
#include <config.h>

#include "backends/backend.h"

#include <errno.h>
#include <string.h>

int
backend_open(const char *url, const struct be_config *cfg, struct backend **out,
	     struct err *err)
{
	struct be_caps play;

	if (strcmp(url, "mem:") == 0)
		return backend_mem_open(out);
	if (strcmp(url, "mem:object") == 0) {
		backend_mem_caps(&play, false);
		return backend_mem_open_as(&play, out);
	}
	if (strncmp(url, "s3://", 5) == 0)
		return backend_s3_open(url, cfg, out, err);
	if (strncmp(url, "file://", 7) == 0)
		url += 7;
	if (url[0] == '/')
		return backend_file_open(url, cfg, out, err);
	if (strncmp(url, "nfs://", 6) == 0 || strncmp(url, "efs://", 6) == 0 ||
	    (strstr(url, ":/") && !strstr(url, "://")))
		return err_set(err, -EINVAL,
			       "source \"%s\": sharedfs does not mount NFS or EFS"
			       " itself yet; mount it (mount -t nfs, mount.efs)"
			       " and use file:///its/mount/point",
			       url);
	return err_set(
		err, -EINVAL,
		"source \"%s\" is not understood; use s3://bucket[/prefix]"
		" or file:///absolute/directory",
		url);
}
