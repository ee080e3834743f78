#!/bin/bash
# A guest that breaks the protocol or its devices' rules loses its own machine only.
. "$(dirname "$0")/lib.sh"
sandbox demo other
python other <<< 'x = 41'

port() { # code that finds the agent's port in the guest
	echo 'port=$(for p in /sys/class/virtio-ports/*; do'
	echo '  [ "$(cat $p/name)" = pffs.agent ] && basename $p; done)'
}
hostile() { # hostile NAME SHELL-CODE
	echo "$2" > demo/bash
	ok "$1: the machine ends" wait_for "$wait_limit" state_is demo dead
	is "$(cat demo/exit)" 137 "$1: its run with 137"
	like "$(value demo/status reason)" '.' "$1: for a reason: $(value demo/status reason)"
	is "$(echo 'print(x + 1)' > other/exec; cat other/stdout)" 42 "$1: another is untouched"
	within 30 rmdir demo
	sandbox demo
}

# The agent holds its port; a guest's root takes it by writing through the agent's own
# descriptor.
hostile "garbage on the agent's port" 'for fd in /proc/1/fd/*; do
	case $(readlink $fd) in *vport*) head -c 100000 /dev/urandom > $fd ;; esac
done; sleep 1000'
hostile "the agent killed" "$(port)
kill -SEGV 1; kill -KILL 1; echo o > /proc/sysrq-trigger; sleep 1000"
echo 'head -c 30000000 /dev/zero | tr "\\0" x > /dev/kmsg; dmesg | tail -n 1; true' > demo/bash
is "$(cat demo/exit)" 0 "a guest that floods its kernel log lives"
is "$(echo 'print(x + 1)' > other/exec; cat other/stdout)" 42 "and so does the other"
done_testing
