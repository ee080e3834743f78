#!/bin/bash
# A guest that breaks the rules loses its own machine and nothing else.
. "$(dirname "$0")/lib.sh"
sandbox demo other
python other <<< 'x = 41'

# To the guest's root belongs the agent's own descriptor of its port.
cat > "$scratch/take-port" <<'CODE'
import ctypes, os, select
libc = ctypes.CDLL(None, use_errno=True)
PIDFD_OPEN, PIDFD_GETFD = 434, 438
agent = libc.syscall(PIDFD_OPEN, 1, 0)
port = None
for number in os.listdir("/proc/1/fd"):
    try:
        target = os.readlink("/proc/1/fd/" + number)
    except OSError:
        continue
    if "vport" in target:
        port = libc.syscall(PIDFD_GETFD, agent, int(number), 0)
assert port is not None and port >= 0, os.strerror(ctypes.get_errno())
# The agent shares the descriptor's flags: it stays one that does not block.
def send(data):
    while data:
        select.select([], [port], [])
        try:
            data = data[os.write(port, data):]
        except BlockingIOError:
            pass
def frame(kind, payload=b"", stream=0, epoch=1, length=None):
    length = len(payload) if length is None else length
    return (length.to_bytes(4, "little") + stream.to_bytes(4, "little")
            + bytes([kind, 0]) + epoch.to_bytes(2, "little") + payload)
CODE

hostile() { # hostile NAME PYTHON-CODE
	{ command cat "$scratch/take-port"; echo "$2"; } > demo/exec
	if ! ok "$1: the machine ends" wait_for "$wait_limit" state_is demo dead; then
		diag "$(within 5 cat demo/stderr)"
	fi
	is "$(cat demo/exit)" 137 "$1: its run with 137"
	like "$(value demo/status reason)" '[a-z]' "$1: for a reason"
	is "$(echo 'print(x + 1)' > other/exec; cat other/stdout)" 42 "$1: another is untouched"
	within 30 rmdir demo
	sandbox demo
}

hostile "bytes that are no frames" 'send(b"root@sandbox:~# " * 100)'
hostile "a frame of 4 GiB" 'send(frame(66, length=0xffffffff))'
hostile "a type that only the host sends" 'send(frame(2, b"\1\0\0\0\0\0"))'
hostile "an exit that is neither code nor signal" 'send(frame(68, b"\7\7", stream=1))'
hostile "more stdin taken than was sent" 'send(frame(69, b"\0\0\1\0", stream=1) * 100)'

{
	command cat "$scratch/take-port"
	echo 'send(frame(66, b"of no run", stream=77) + frame(68, b"\0\0", stream=78))'
	echo 'send(frame(66, b"of another age", stream=1, epoch=9))'
	echo 'print("mine")'
} > demo/exec
is "$(cat demo/stdout)" mine "frames of runs there never were are nobody's output"
is "$(cat demo/exit)" 0 "and end no run"

# What a guest says on its console is bounded, and stalls nobody.
cat > demo/bash <<'CODE'
echo on > /proc/sys/kernel/printk_devkmsg
line=$(printf %0900d 0)
for i in {1..100}; do echo "<0>flood $i $line"; done > /dev/kmsg
CODE
is "$(cat demo/exit)" 0 "a guest that floods its console lives"
is "$(echo 'print(x + 1)' > other/exec; cat other/stdout)" 42 "and so does the other"
vmctl log "$(value demo/status vm)" > "$scratch/log"
like "$(tail -n 5 "$scratch/log")" 'flood 100 ' "the end of what it said is kept"
ok "and no more than is bounded" test "$(wc -c < "$scratch/log")" -le 70000
done_testing
