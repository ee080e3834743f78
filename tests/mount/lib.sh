# The harness of the mount tests: TAP, deadlines, and sandboxes that go when the test
# ends. Sourced by each *.t, which is a user's shell session in the directory of the
# mount. A test that is not under tests/mount/setup puts itself there.
#
# A test of files alone, which calls tree, can be run on any directory, natively:
#   PFFS_TEST_TREE=/tmp/x tests/mount/files-conformance.t
# shellcheck shell=bash
set -u
if [ -n "${PFFS_TEST_TREE:-}" ]; then
	export PFFS_TEST_MOUNT=$PFFS_TEST_TREE PFFS_TEST_LOG=/dev/null
fi
[ -n "${PFFS_TEST_MOUNT:-}${PFFS_TEST_SKIP:-}" ] ||
	exec "$(dirname "${BASH_SOURCE[0]}")/setup" bash "$0" "$@"

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${PFFS_BUILD:-$top}
wait_limit=${PFFS_TEST_WAIT:-300} # seconds that one wait may take, a boot included
file_limit=${PFFS_TEST_FILE_LIMIT:-1300} # seconds that one test file may take
tests=0
failures=0
sandboxes=()
scratch=

skip_all() {
	if [ "${PFFS_MUST_WORK:-}" = 1 ]; then
		echo "1..1"
		echo "not ok 1 - $1"
		exit 1
	fi
	echo "1..0 # SKIP $1"
	exit 0
}

[ -z "${PFFS_TEST_SKIP:-}" ] || skip_all "$PFFS_TEST_SKIP"

# A test file that hangs for all its deadlines is ended, with all it started.
if [ -z "${PFFS_TEST_GUARDED:-}" ]; then
	PFFS_TEST_GUARDED=1 exec timeout -k 20 "$file_limit" bash "$0" "$@"
fi
unset PFFS_TEST_GUARDED

# diag TEXT: for the person who reads a failure.
diag() {
	printf '%s\n' "$1" | sed 's/^/# /' >&2
}

# pass NAME, fail NAME: the result of one test.
pass() {
	tests=$((tests + 1))
	echo "ok $tests - $1"
}

fail() {
	tests=$((tests + 1))
	failures=$((failures + 1))
	echo "not ok $tests - $1"
	diag "failed: $1"
	return 1
}

# ok NAME COMMAND...: the command succeeds.
ok() {
	local name=$1 status=0
	shift
	"$@" || status=$?
	if [ "$status" = 0 ]; then
		pass "$name"
	else
		fail "$name"
		diag "exit status $status: $*"
		return 1
	fi
}

# not_ok NAME COMMAND...: the command fails.
not_ok() {
	local name=$1
	shift
	if "$@"; then
		fail "$name"
		diag "succeeded: $*"
	else
		pass "$name"
	fi
}

# is GOT WANT NAME: two texts are equal.
is() {
	if [ "$1" = "$2" ]; then
		pass "$3"
	else
		fail "$3"
		diag "got:  ${1:0:2000}"
		diag "want: ${2:0:2000}"
		return 1
	fi
}

# like GOT REGEX NAME: a text matches an extended regular expression.
like() {
	if [[ $1 =~ $2 ]]; then
		pass "$3"
	else
		fail "$3"
		diag "got: ${1:0:2000}"
		diag "which does not match: $2"
		return 1
	fi
}

# within SECONDS COMMAND...: run a program, ended by force after so many seconds.
within() {
	local limit=$1
	shift
	timeout -k 5 "$limit" "$@"
}

# cat(1) with a deadline: a read that should have ended fails instead of hanging.
cat() {
	within "$wait_limit" cat "$@"
}

# wait_for SECONDS COMMAND...: until a command or function succeeds.
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $deadline ] || return 1
		sleep 0.1
	done
}

# value FILE KEY: the value of a KEY VALUE line.
value() {
	within "$wait_limit" sed -n "s/^$2 //p" "$1"
}

# state_is NAME STATE: what its status says now.
state_is() {
	[ "$(value "$1/status" state)" = "$2" ]
}

# is_up DIR: a pffs answers there.
is_up() {
	within 5 cat "$1/host" >/dev/null 2>&1
}

# nobody COMMAND...: as an unprivileged user.
nobody() {
	within "$wait_limit" setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

# sandbox NAME...: make each. They go when the test ends, whatever the test does.
sandbox() {
	local name
	for name; do
		sandboxes+=("$name")
		within 30 mkdir "$name" || fail "mkdir $name: $(cat error)"
	done
}

# python NAME: code from standard input in NAME's REPL; its exit code is our status.
# What it printed is in NAME/stdout, as always.
python() {
	command cat >"$1/exec" && [ "$(cat "$1/exit")" = 0 ]
}

# bash_in NAME CODE: in a bash of NAME's; its exit code is our status.
bash_in() {
	printf '%s\n' "$2" >"$1/bash" && [ "$(cat "$1/exit")" = 0 ]
}

# ask NAME: as python; what it printed is printed.
ask() {
	command cat >"$1/exec" && cat "$1/output"
}

# in_all: code from standard input runs in all ${machines[@]}. What each prints is in
# $scratch/said, each line with the machine's name before it.
machines=()
in_all() {
	local machine
	command cat >"$scratch/code"
	for machine in "${machines[@]}"; do
		command cat "$scratch/code" >"$machine/exec"
	done
	for machine in "${machines[@]}"; do
		cat "$machine/output" | sed "s|^|$machine |"
	done >"$scratch/said"
}

# fails_with ERRNO NAME OPERATION ARGUMENT...: see tests/mount/attempt.
fails_with() {
	is "$(within "$wait_limit" "$top/tests/mount/attempt" "${@:3}")" "$1" "$2"
}

# tree: the directory whose files are tested is $tree: a new sandbox's, unless another
# is asked for. What needs a guest asks `has_guest`.
# shellcheck disable=SC2034 # it is for who sources this
tree() {
	if has_guest; then
		sandbox demo
		tree=$PWD/demo/fs/root
	else
		tree=$PWD
	fi
}

has_guest() {
	[ -z "${PFFS_TEST_TREE:-}" ]
}

# take_in COMMAND...: a program that speaks TAP; its tests are ours.
take_in() {
	local line status
	within "$file_limit" "$@" >"$scratch/tap"
	status=$?
	while IFS= read -r line; do
		case $line in
		"ok "*) pass "${line#* - }" ;;
		"not ok "*) fail "${line#* - }" ;;
		esac
	done <"$scratch/tap"
	if [ "$status" -gt 1 ] || ! grep -q '^1\.\.' "$scratch/tap"; then
		fail "${1##*/} ended with $status"
	fi
}

# vmctl COMMAND [ARGUMENT...]: ask the vmctl behind the mount.
vmctl() {
	within 60 "$build/vmctl/vmctl" "$1" --socket "$PFFS_TEST_SOCKET" "${@:2}"
}

# done_testing: the plan, last.
done_testing() {
	echo "1..$tests"
	[ "$failures" != 0 ] || exit 0
	diag "the end of the log of pffs and vmctl:"
	diag "$(tail -n 20 "$PFFS_TEST_LOG")"
	exit 1
}

# remove_all NAME: a sandbox and its forks, if it is there.
remove_all() {
	local fork
	for fork in "$1"/forks/*/; do
		[ ! -d "$fork" ] || remove_all "${fork%/}"
	done
	[ ! -d "$1" ] || within 30 rmdir "$1" 2>/dev/null
}

clean_up() {
	local status=$? sandbox jobs # not a name that also_clean_up of a test uses
	# A job that a signal meets before it is a program runs the shell's traps.
	[ "$BASHPID" = $$ ] || exit "$status"
	! declare -F also_clean_up > /dev/null || also_clean_up
	jobs=$(jobs -p)
	# shellcheck disable=SC2086 # a list of numbers
	[ -z "$jobs" ] || kill $jobs 2>/dev/null
	cd "${PFFS_TEST_MOUNT:-/}" || exit # a test may be elsewhere, as in what is removed now
	for sandbox in "${sandboxes[@]}"; do
		remove_all "$sandbox"
	done
	[ -z "$scratch" ] || rm -rf "$scratch"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 143' TERM

scratch=$(mktemp -d) || skip_all "no scratch directory"
cd "$PFFS_TEST_MOUNT" || skip_all "cannot enter $PFFS_TEST_MOUNT"
