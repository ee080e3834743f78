# shellcheck shell=bash
# Telling how a long command is getting on. To be sourced.

# How often a line is printed where a line cannot be replaced.
PLAIN_SECONDS=15

# progress LABEL LOG PID: show the newest step in LOG until process PID has ended.
# Returns that process's status.
progress() {
	local label=$1 log=$2 pid=$3 begin=$SECONDS said=-$PLAIN_SECONDS step status=0

	while kill -0 "$pid" 2> /dev/null; do
		step=$(newest_step "$log")
		if [[ -t 2 ]]; then
			printf '\r\033[K%s: %d s  %.50s' "$label" $((SECONDS - begin)) "$step" >&2
		elif ((SECONDS - said >= PLAIN_SECONDS)); then
			printf '%s: %d s  %s\n' "$label" $((SECONDS - begin)) "$step" >&2
			said=$SECONDS
		fi
		sleep 0.5
	done
	wait "$pid" || status=$?
	[[ ! -t 2 ]] || printf '\r\033[K' >&2
	((status)) || echo "$label: done in $((SECONDS - begin)) s" >&2
	return "$status"
}

newest_step() {
	tail -c 4096 "$1" 2> /dev/null | tr '\r' '\n' |
		sed -n 's/^\(I: .*\|Get:.*\|Unpacking [^ ]*\|Setting up [^ ]*\).*/\1/p' | tail -n 1
}

# explain_failure LABEL LOG: the end of the log, and what may mend it.
explain_failure() {
	local label=$1 log=$2

	tail -n 15 "$log" | sed 's/^/    /' >&2
	if grep -q 'No space left on device' "$log"; then
		echo "$label: the disk is full: see df -h, free 3 GiB, and run this again" >&2
	elif grep -qiE 'could not resolve|failed to fetch|unable to connect|connection (timed|refused)|unable to locate package' "$log"; then
		echo "$label: Debian's packages cannot be fetched: check the network with" \
			"apt-get update, and run this again" >&2
	elif grep -qiE 'NO_PUBKEY|not signed|keyring' "$log"; then
		echo "$label: the archive's signature cannot be checked:" \
			"apt-get install debian-archive-keyring, and run this again" >&2
	else
		echo "$label: failed; the whole log is $log" >&2
	fi
}
