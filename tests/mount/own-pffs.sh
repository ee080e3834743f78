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

# kill_early KILL: KILL, a function, is called while the machine of a template boots.
kill_early() {
	within 60 mkdir mnt/early
	echo 'print("early")' > mnt/early/exec
	wait_for 30 queued mnt/early/runs/1
	"$1"
	ok "killed while the template's machine boots, it is mounted again" start
	is "$(within 120 cat mnt/early/stdout)" early "and a sandbox that waited for that machine gets one"
}

# numbers N: what a run printed that counts to N.
numbers() {
	seq 0 $(($1 - 1))
}

count_to() {
	printf 'import time\nfor i in range(%d):\n    print(i, flush=True)\n    time.sleep(0.1)\n' "$1"
}

# queued RUN: its code is complete, which is when the last descriptor of exec has been
# closed. The shell does not wait for that.
queued() {
	[ "$(value "$1/status" state)" != writing ]
}
