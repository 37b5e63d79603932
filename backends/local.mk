noinst_LIBRARIES += libbackends.a
libbackends_a_SOURCES = \
	backends/credentials.c backends/credentials.h \
	backends/credentials-priv.h backends/cred-doc.c \
	backends/cred-http.c backends/cred-ini.c backends/cred-ini.h \
	backends/cred-metadata.c backends/cred-passwd.c \
	backends/cred-process.c backends/cred-profile.c backends/cred-sts.c \
	backends/secret.c backends/secret.h \
	backends/backend.c backends/backend.h backends/registry.c \
	backends/mem.c backends/mem-data.c backends/mem-priv.h \
	backends/mem-tree.c backends/mem-tree.h \
	backends/file.c backends/file-priv.h \
	backends/file-attr.c backends/file-commit.c backends/file-data.c \
	backends/file-errno.c backends/file-errno.def \
	backends/file-id.c backends/file-path.c backends/file-probe.c \
	backends/file-xattr.c \
	$(NULL)

libbackends_a_SOURCES += \
	backends/s3-ahead.c \
	backends/s3-copy.c \
	backends/s3-digest.c \
	backends/s3-digest.h \
	backends/s3-errno.def \
	backends/s3-error.c \
	backends/s3-error.h \
	backends/s3-facts.c \
	backends/s3-head.c \
	backends/s3-hedge.c \
	backends/s3-hedge.h \
	backends/s3-http.c \
	backends/s3-http.h \
	backends/s3-key.c \
	backends/s3-key.h \
	backends/s3-list.c \
	backends/s3-meta.c \
	backends/s3-meta.h \
	backends/s3-multipart.c \
	backends/s3-orphans.c \
	backends/s3-part.c \
	backends/s3-priv.h \
	backends/s3-probe.c \
	backends/s3-put.c \
	backends/s3-read.c \
	backends/s3-remove.c \
	backends/s3-rename.c \
	backends/s3-reply.c \
	backends/s3-req.c \
	backends/s3-send.c \
	backends/s3-send.h \
	backends/s3-sign.c \
	backends/s3-sign.h \
	backends/s3-upload.c \
	backends/s3-upload.h \
	backends/s3-xattr.c \
	backends/s3-xml.c \
	backends/s3-xml.h \
	backends/s3.c \
	$(NULL)

libbackends_a_SOURCES += \
	backends/breaker.c backends/breaker.h \
	backends/wrap.h backends/wrap-fault.c backends/wrap-retry.c \
	backends/wrap-trace.c \
	$(NULL)
