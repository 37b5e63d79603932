noinst_LIBRARIES += liboptions.a
liboptions_a_SOURCES = \
	fs/idmap.c \
	fs/options-arg.c \
	fs/options.c fs/options.h fs/options.def \
	fs/options-priv.h \
	fs/options-source.c \
	fs/options-value.c \
	$(NULL)
LIB_OPTIONS = liboptions.a

noinst_LIBRARIES += libfs.a
libfs_a_SOURCES = \
	fs/abi.c fs/abi.h \
	fs/ask.c fs/ask.h \
	fs/client.c fs/client.h \
	fs/confine.c fs/confine.h \
	fs/control.c fs/control.h fs/control-priv.h \
	fs/control-freeze.c \
	fs/control-socket.c fs/control-socket.h \
	fs/doctor.c fs/doctor.h \
	fs/exe.c fs/exe.h \
	fs/freeze.c fs/freeze.h \
	fs/fs.h \
	fs/gate.c fs/gate.h \
	fs/guard.c fs/guard.h \
	fs/handle.c fs/handle.h \
	fs/handover.c fs/handover.h \
	fs/inode.c fs/inode.h \
	fs/kmount.c fs/kmount.h \
	fs/link.c fs/link.h \
	fs/logging.c fs/logging.h \
	fs/mount.c fs/mount.h \
	fs/linger.c fs/linger.h \
	fs/notify.c \
	fs/ops.c fs/ops.h fs/ops.def \
	fs/ops-attr.c \
	fs/ops-dir.c \
	fs/ops-file.c \
	fs/ops-name.c \
	fs/passthrough.c fs/passthrough.h \
	fs/places.c fs/places.h \
	fs/pool.c fs/pool.h \
	fs/recover.c fs/recover.h \
	fs/reload.c fs/reload.h \
	fs/reply.c fs/reply.h \
	fs/request.c fs/request.h \
	fs/sdnotify.c fs/sdnotify.h \
	fs/session.c fs/session.h \
	fs/supervisor.c fs/supervisor.h \
	fs/table.c fs/table.h fs/table-priv.h \
	fs/table-index.c \
	fs/table-op.c \
	fs/table-req.c \
	fs/table-node.c \
	fs/takeover.c fs/takeover.h \
	fs/utab.c fs/utab.h \
	fs/worker.c fs/worker.h \
	$(NULL)
LIB_FS = libfs.a $(LIB_OPTIONS)

bin_PROGRAMS += sharedfs
sharedfs_SOURCES = fs/main.c
sharedfs_LDADD = $(LIB_FS) $(LIB_CACHE) $(LIBS_BACKENDS) $(FUSE_LIBS) $(MOUNT_LIBS)
