shell_tests += tests/lint/man.sh tests/lint/examples.sh
shell_tests += tests/lint/errno-doc.sh
shell_tests += tests/lint/banned.sh tests/lint/includes.sh
EXTRA_DIST += tests/lint/code.awk
shell_tests += tests/lint/semantics.sh
shell_tests += tests/lint/install.sh
