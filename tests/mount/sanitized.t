#!/bin/bash
# pffs built with AddressSanitizer and UndefinedBehaviorSanitizer lives through the core
# of the mount tests, and leaks nothing. It is a second pffs at the same vmctl.
#
#   PFFS_SANITIZED  the tree that was built with --enable-sanitizers
PFFS_TEST_FILE_LIMIT=${PFFS_TEST_FILE_LIMIT:-1400} # for all of them; each has a limit of its own
. "$(dirname "$0")/lib.sh"
core=(session one-run streaming binary transaction stdin tail-poll interrupt bad-input
	fork fork-load fork-depth files files-cached)
pffs=${PFFS_SANITIZED:-}/pffs/pffs
[ -x "$pffs" ] || skip_all "no pffs with sanitizers: ./check builds one"

mine=$scratch/mnt
TMPDIR=$scratch ASAN_OPTIONS=detect_leaks=1:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1 \
	"$pffs" mount --foreground --socket "$PFFS_TEST_SOCKET" "$mine" > "$scratch/log" 2>&1 &
pid=$!
if ! ok "pffs with sanitizers mounts" wait_for 60 is_up "$mine"; then
	diag "$(command cat "$scratch/log")"
	done_testing
fi
cd "$top" || exit 1
for name in "${core[@]}"; do
	PFFS_TEST_MOUNT=$mine PFFS_TEST_PID=$pid "$top/tests/mount/$name.t" > "$scratch/out" 2>&1
	status=$?
	if ! is "$status" 0 "$name"; then
		diag "$(grep -v '^ok' "$scratch/out")"
	fi
done
ok "umount" within 60 "$pffs" umount "$mine"
wait "$pid"
is "$?" 0 "no sanitizer had anything to say at the end" || diag "$(command cat "$scratch/log")"
not_ok "or before" grep -E 'runtime error|Sanitizer' "$scratch/log"
done_testing
