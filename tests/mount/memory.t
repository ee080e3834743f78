#!/bin/bash
# What a sandbox costs in memory: little for a fork that does nothing, and what its
# programs free goes back to the host.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/x)
sandbox demo

stat_of() { # SANDBOX KEY
	vmctl stat "$(value "$1/status" vm)" | sed -n "s/^$2 //p"
}
less_than() {
	[ "$(stat_of demo memory_bytes)" -lt "$1" ]
}
ok "a sandbox starts" python demo <<< 'size = 200 << 20'
ok "and is forked" within "$wait_limit" mkdir demo/forks/x
sleep 5
private=$(stat_of demo/forks/x memory_private)
ok "an idle fork has $private bytes of its own, less than 1 MiB" [ "$private" -lt $((1 << 20)) ]
ok "the rest is shared" [ "$(stat_of demo/forks/x memory_shared)" -gt "$private" ]
ok "the fork goes" within 30 rmdir demo/forks/x

before=$(stat_of demo memory_bytes)
ok "200 MiB are used" python demo <<< 'data = bytearray(size); data[::4096] = b"x" * (size // 4096)'
full=$(stat_of demo memory_bytes)
ok "which takes $full bytes instead of $before" [ "$full" -gt $((before + (150 << 20))) ]
ok "and freed" python demo <<< 'del data'
ok "then the host has them back" wait_for 60 less_than $((full - (150 << 20)))
ok "and they can be used again" python demo <<< 'data = b"y" * size; assert data.count(b"y") == size'
done_testing
