# What the scripts that start mounts know of processes. Sourced by them.
# shellcheck shell=bash

# descendants PID: it and all processes below it.
descendants() {
	local child
	echo "$1"
	for child in $(pgrep -P "$1"); do
		descendants "$child"
	done
}

# alive PID...: those that still run.
alive() {
	local p
	for p; do
		[ ! -d "/proc/$p" ] || grep -q '^State:.*zombie' "/proc/$p/status" || echo "$p"
	done
}
