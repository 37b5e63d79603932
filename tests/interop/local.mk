# Other programs that use the same bucket.
shell_tests += \
	tests/interop/rclone.sh \
	tests/interop/s3fs.sh \
	$(NULL)
