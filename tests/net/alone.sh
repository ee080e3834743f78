# shellcheck shell=bash
# Sourced by the tests of this folder.
#
# in_world COMMAND...: in what tests/net/world makes, run COMMAND. A mount that was lent to the test
# is not for it: its sandboxes reach the internet of world only from a mount that is made there.
in_world() {
	if [ "$(id -u)" != 0 ]; then
		[ "${PFFS_MUST_WORK:-}" != 1 ] || { printf '1..1\nnot ok 1 - root is needed\n'; exit 1; }
		echo "1..0 # SKIP only root makes network namespaces"
		exit 0
	fi
	unset PFFS_TEST_MOUNT PFFS_TEST_SKIP PFFS_STATE
	exec "$(dirname "${BASH_SOURCE[0]}")/world" "$@"
}
