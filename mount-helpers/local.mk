# mount(8) looks in /sbin only; see --with-mounthelperdir.  (With "exec" in the
# name automake installs it before install-exec-hook.)
mounthelperexecdir = $(mounthelperdir)
mounthelperexec_PROGRAMS = mount.sharedfs
mount_sharedfs_SOURCES = mount-helpers/mount.sharedfs.c
mount_sharedfs_CPPFLAGS = $(AM_CPPFLAGS) -DBINDIR=\"$(bindir)\"
mount_sharedfs_LDADD = $(LIB_FS) $(LIB_COMMON) $(LIBS_COMMON) \
	$(MOUNT_LIBS)

# `mount -t fuse.sharedfs` and umount(8) of that type look for these names.
mount_links = mount.fuse.sharedfs umount.fuse.sharedfs
noinst_DATA = $(mount_links)
CLEANFILES += $(mount_links)
$(mount_links): mount.sharedfs
	$(AM_V_GEN)rm -f $@ && ln -s mount.sharedfs $@

install-exec-hook:
	cd '$(DESTDIR)$(mounthelperdir)' && for l in $(mount_links); do \
		rm -f $$l && ln -s mount.sharedfs $$l || exit 1; \
	done
uninstall-hook:
	cd '$(DESTDIR)$(mounthelperdir)' && rm -f $(mount_links)

sbin_PROGRAMS += migrate-local-uploads
migrate_local_uploads_SOURCES = \
	mount-helpers/migrate-args.c \
	mount-helpers/migrate-back.c mount-helpers/migrate-back.h \
	mount-helpers/migrate-back-walk.c \
	mount-helpers/migrate-cutover.c \
	mount-helpers/migrate-entry.c \
	mount-helpers/migrate-exchange.c \
	mount-helpers/migrate-follow.c \
	mount-helpers/migrate-journal.c \
	mount-helpers/migrate-leftover.c \
	mount-helpers/migrate-local-uploads.c \
	mount-helpers/migrate-mount.c mount-helpers/migrate-mount.h \
	mount-helpers/migrate-others.c \
	mount-helpers/migrate-pass.c \
	mount-helpers/migrate-place.c \
	mount-helpers/migrate-preflight.c \
	mount-helpers/migrate-priv.h \
	mount-helpers/migrate-put.c \
	mount-helpers/migrate-report.c \
	mount-helpers/migrate-settle.c \
	mount-helpers/migrate-source.c \
	mount-helpers/migrate-throttle.c \
	mount-helpers/migrate-tree.c mount-helpers/migrate-tree.h \
	mount-helpers/migrate-undo.c \
	mount-helpers/migrate-users.c mount-helpers/migrate-users.h \
	mount-helpers/migrate-verify.c \
	$(NULL)
migrate_local_uploads_LDADD = $(LIB_FS) $(LIB_BACKENDS) $(LIBS_BACKENDS) \
	$(MOUNT_LIBS)

# Units.  systemd looks below the prefixes /usr and /usr/local.
systemdunitdir = $(prefix)/lib/systemd/system
dist_systemdunit_DATA = mount-helpers/systemd/docker-volume-sharedfs.socket
nodist_systemdunit_DATA = \
	mount-helpers/systemd/docker-volume-sharedfs.service \
	mount-helpers/systemd/sharedfs@.service \
	$(NULL)
EXTRA_DIST += \
	mount-helpers/systemd/docker-volume-sharedfs.service.in \
	mount-helpers/systemd/sharedfs@.service.in \
	$(NULL)
CLEANFILES += $(nodist_systemdunit_DATA)
$(nodist_systemdunit_DATA): %: %.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && sed \
		-e 's|@bindir[@]|$(bindir)|g' -e 's|@sbindir[@]|$(sbindir)|g' \
		'$(srcdir)/$@.in' >$@.tmp && mv $@.tmp $@

# Docker's volume plugin.
sbin_PROGRAMS += docker-volume-sharedfs
docker_volume_sharedfs_SOURCES = \
	mount-helpers/docker-volume-sharedfs.c \
	mount-helpers/volume-set.c mount-helpers/volume-set.h \
	mount-helpers/volume-share.c mount-helpers/volume-share.h \
	$(NULL)
docker_volume_sharedfs_CPPFLAGS = $(AM_CPPFLAGS) \
	-DMOUNTHELPERDIR=\"$(mounthelperdir)\"
docker_volume_sharedfs_CFLAGS = $(AM_CFLAGS) $(MICROHTTPD_CFLAGS)
docker_volume_sharedfs_LDADD = $(LIB_COMMON) $(LIBS_COMMON) \
	$(MICROHTTPD_LIBS) $(MOUNT_LIBS)
