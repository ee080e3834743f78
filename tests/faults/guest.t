#!/bin/bash
# Guests at their worst: each takes from itself alone. The others answer meanwhile, what
# happened is said, and what is left can be removed.
#
# The machines are small, so that they are soon full: this is another pffs, at the same
# vmctl.
# shellcheck disable=SC2317 # functions are called by name
. "$(dirname "$0")/../mount/lib.sh"
small=$scratch/mnt
TMPDIR=$scratch "$build/pffs/pffs" mount --foreground --socket "$PFFS_TEST_SOCKET" \
	--images "${PFFS_IMAGES:-/var/cache/pffs}" --state "$scratch/state" \
	--memory-mib 192 --disk-mib 64 "$small" > "$scratch/log" 2>&1 &
pffs=$!
ok "a pffs with small machines" wait_for 60 is_up "$small"
cd "$small" || exit
sandbox other
python other <<< 'x = 41'
others_answer() {
	[ "$(echo 'print(x + 1)' > other/exec; cat other/stdout)" = 42 ]
}

# in_demo NAME: a bash that is given standard input begins in a new sandbox.
in_demo() {
	[ ! -d demo ] || within 30 rmdir demo
	sandbox demo
	command cat > demo/bash
	ok "$1: the others answer meanwhile" others_answer
}

# lives NAME: the sandbox goes on.
lives() {
	is "$(echo 'print("alive")' > demo/exec; cat demo/stdout)" alive "$1: it goes on"
}

# ends NAME EXIT REASON: the machine ends, and that is told.
ends() {
	ok "$1: the machine ends" wait_for "$wait_limit" state_is demo dead
	is "$(cat demo/exit)" "$2" "$1: its run with $2"
	like "$(value demo/status reason)" "$3" "$1: and says why"
	ok "$1: the others answer" others_answer
	ok "$1: it can be removed" within 30 rmdir demo
}

in_demo "a flood of output" <<< 'yes no end of it'
ok "a flood of output: it is there" wait_for 30 test -s demo/stdout
echo kill > demo/ctl
is "$(cat demo/exit)" 137 "a flood of output: it can be killed"
lives "a flood of output"

in_demo "processes without end" << 'CODE'
ulimit -u unlimited
bomb() { bomb | bomb & }
bomb
sleep 1000
CODE
sleep 2
ok "processes without end: the others answer still" others_answer
echo 1 > demo/config/exec_timeout
is "$(cat demo/exit)" 124 "processes without end: a time limit ends them"
echo 0 > demo/config/exec_timeout
lives "processes without end"

in_demo "a full disk" <<< 'cat /dev/zero > big; echo $?; rm big; echo again > big'
is "$(cat demo/stdout)" 1 "a full disk: the program is told"
like "$(cat demo/stderr)" 'No space left' "a full disk: by its errno"
is "$(cat demo/fs/root/big)" again "a full disk: what is removed can be used again"

in_demo "full memory" <<< 'exec tail /dev/zero'
is "$(cat demo/exit)" 137 "full memory: the program is killed"
lives "full memory"
python demo <<< 'kept = 1'
python demo <<< 'x = bytearray(1 << 30)'
is "$(value demo/status state)" ready "full memory of the REPL: it goes on"
lives "full memory of the REPL"

# To the guest's root belongs what the agent waits on: it hears of its port no more.
in_demo "nobody reads the port" << 'CODE'
exec python3 -c '
import ctypes, os, select, time
libc = ctypes.CDLL(None, use_errno=True)
PIDFD_OPEN, PIDFD_GETFD = 434, 438
agent = libc.syscall(PIDFD_OPEN, 1, 0)
names = {os.readlink("/proc/1/fd/" + n): int(n) for n in os.listdir("/proc/1/fd")}
port = next(number for name, number in names.items() if "vport" in name)
loop = libc.syscall(PIDFD_GETFD, agent, names["anon_inode:[eventpoll]"], 0)
os.dup2(libc.syscall(PIDFD_GETFD, agent, port, 0), 100 + port)
os.dup2(100 + port, port)
print("taken", flush=True)
time.sleep(0.5)
select.epoll.fromfd(loop).unregister(port)
time.sleep(1000)'
CODE
ok "nobody reads the port: from some time on" wait_for "$wait_limit" grep -q taken demo/stdout
sleep 3
ok "nobody reads the port: the others answer still" others_answer
like "$(timeout 5 ls demo/fs 2>&1; echo $?)" '124|nterrupted' "nobody reads the port: who waits for it can be interrupted"
is "$(value demo/status state)" running "nobody reads the port: status answers"
echo kill > demo/ctl
ends "nobody reads the port" 137 'did not end a run'

reboot_by() { # reboot_by NUMBER
	echo "python3 -c 'import ctypes; ctypes.CDLL(None).reboot($1)'; sleep 1000"
}
in_demo "reboot(2)" <<< "$(reboot_by 0x01234567)"
ends "reboot(2)" 137 'rebooted'
in_demo "power off" <<< "$(reboot_by 0x4321fedc)"
ends "power off" 137 'shut down'
in_demo "halt" <<< "$(reboot_by 0xcdef0123)"
echo 1 > demo/config/exec_timeout
ends "halt" 124 'did not end a run'
in_demo "a panic" <<< 'echo c > /proc/sysrq-trigger; sleep 1000'
ends "a panic" 137 'panicked'

within 30 rmdir other
nobody_left() {
	[ "$(value host sandboxes)" = 0 ] &&
		[ "$(vmctl list | awk '/^[0-9]/ && $7 != $8' | wc -l)" = 0 ]
}
ok "nothing is left" wait_for 30 nobody_left
cd / && ok "and all can end" within 60 "$build/pffs/pffs" umount "$small"
wait "$pffs"
is $? 0 "in order"
done_testing
