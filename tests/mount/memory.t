#!/bin/bash
# What a sandbox costs in memory: little while it does nothing, and what its programs
# free goes back to the host.
. "$(dirname "$0")/lib.sh"
sandbox idle demo

resident() {
	vmctl stat "$(value demo/status vm)" | sed -n 's/^memory_bytes //p'
}
less_than() {
	[ "$(resident)" -lt "$1" ]
}
ok "a sandbox is there" wait_for "$wait_limit" state_is idle ready
sleep 5
private=$(value idle/stats memory_private)
# 0.8 to 1 MiB: a machine that was just forked may have some housekeeping to do.
ok "idle, it has $private bytes of its own, about 1 MiB" [ "$private" -lt $((5 << 18)) ]
ok "and shares the rest" [ "$(value idle/stats memory_shared)" -gt 0 ]

ok "another one runs" python demo <<< 'size = 200 << 20'
before=$(resident)
ok "and uses 200 MiB" python demo <<< 'data = bytearray(size); data[::4096] = b"x" * (size // 4096)'
full=$(resident)
ok "which takes $full bytes instead of $before" [ "$full" -gt $((before + (150 << 20))) ]
ok "and frees them" python demo <<< 'del data'
ok "then the host has them back" wait_for 60 less_than $((full - (150 << 20)))
ok "and they can be used again" python demo <<< 'data = b"y" * size; assert data.count(b"y") == size'
done_testing
