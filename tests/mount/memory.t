#!/bin/bash
# What a sandbox costs in memory: little while it does nothing, and what its programs
# free goes back to the host.
. "$(dirname "$0")/lib.sh"
idle=(idle-1 idle-2 idle-3 idle-4 idle-5)
sandbox "${idle[@]}" demo

resident() {
	vmctl stat "$(value demo/status vm)" | sed -n 's/^memory_bytes //p'
}
less_than() {
	[ "$(resident)" -lt "$1" ]
}
ok "sandboxes are there" wait_for "$wait_limit" state_is idle-5 ready
sleep 5
# A machine that was just forked may have some housekeeping to do: the median counts. It is 1.0 to 1.4 MiB,
# by where the boot of the template has put things.
private=$(for name in "${idle[@]}"; do value "$name/stats" memory_private; done | sort -n | sed -n 3p)
ok "idle, they have $private bytes of their own, about 1 MiB" [ "$private" -lt $((7 << 18)) ]
ok "and share the rest" [ "$(value idle-1/stats memory_shared)" -gt 0 ]
ok "nothing has come by their network" bash_in idle-2 \
	'[ "$(cat /sys/class/net/eth0/statistics/rx_packets)" = 0 ]'

ok "another one runs" python demo <<< 'size = 200 << 20'
before=$(resident)
ok "and uses 200 MiB" python demo <<< 'data = bytearray(size); data[::4096] = b"x" * (size // 4096)'
full=$(resident)
ok "which takes $full bytes instead of $before" [ "$full" -gt $((before + (150 << 20))) ]
ok "and frees them" python demo <<< 'del data'
ok "then the host has them back" wait_for 60 less_than $((full - (150 << 20)))
ok "and they can be used again" python demo <<< 'data = b"y" * size; assert data.count(b"y") == size'
done_testing
