#!/bin/bash
# The official Python SDK, as it is published, against pffs: podflare_judge.py.
. "$(dirname "$0")/../mount/lib.sh"
[ -n "${PFFS_TEST_HTTP:-}" ] || skip_all "there is no socket"

# What the judge leaves when it fails.
also_clean_up() {
	local dir
	for dir in "$PFFS_TEST_MOUNT"/*/status; do
		[ ! -e "$dir" ] || remove_all "${dir%/status}"
	done
}

# The SDK gives a sandbox 30 seconds, and the first one waits until its template has booted.
sandbox warm
wait_for "$wait_limit" state_is warm ready
unset PODFLARE_API_KEY PODFLARE_HOST PODFLARE_TRACEPARENT
export VMCTL=$build/vmctl/vmctl PODFLARE_HOSTD_URL=$PFFS_TEST_HTTP XDG_CACHE_HOME=$scratch
take_in "$top/tests/doors/env" python3 "$top/tests/doors/podflare_judge.py"
done_testing
