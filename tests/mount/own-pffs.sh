# A pffs of the test's own, with a vmctl and a state directory of its own, that can be ended
# and started again. It is mounted at mnt, in $scratch, where the test is from now on.
# shellcheck shell=bash disable=SC2034,SC2154 # tests use what is here, and lib.sh has the rest
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$scratch" || exit
mkdir mnt spool
unset PFFS_STATE
pffs=$build/pffs/pffs
images=${PFFS_IMAGES:-/var/cache/pffs}
pid=

start() {
	TMPDIR=$scratch/spool "$pffs" mount --foreground --socket "$scratch/sock" --images "$images" \
		--engine "${PFFS_ENGINE:-auto}" --state "$scratch/state" mnt 2>> log &
	pid=$!
	wait_for 180 test -e mnt/host
}

stop() {
	within 60 "$pffs" umount mnt
	wait "$pid"
}
