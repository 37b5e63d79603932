lint_tests += tests/lint/man.sh tests/lint/examples.sh
lint_tests += tests/lint/errno-doc.sh
lint_tests += tests/lint/banned.sh tests/lint/includes.sh
EXTRA_DIST += tests/lint/code.awk
lint_tests += tests/lint/semantics.sh
lint_tests += tests/lint/install.sh
