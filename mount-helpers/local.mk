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
