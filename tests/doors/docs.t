#!/bin/bash
# The pages of the doors, done as they are written: each session begins in a directory
# where the mount is mnt/ and the clients can be found.
. "$(dirname "$0")/../mount/lib.sh"
PFFS_TEST_HTTP_ADDRESS=${PFFS_TEST_HTTP#http://}
PATH=$build/pffs:$PATH
export PFFS_TEST_HTTP_ADDRESS PATH PFFS_API=${PFFS_TEST_API:-}
export PYTHONPATH=$top/clients/python/src PYTHONDONTWRITEBYTECODE=1

# What a session that failed has left.
also_clean_up() {
	local dir
	for dir in "$PFFS_TEST_MOUNT"/*/status; do
		[ ! -e "$dir" ] || remove_all "${dir%/status}"
	done
}

ok "the TypeScript client can be installed" "$top/tests/doors/typescript-app" "$scratch/app"
for page in "$top"/docs/*.md "$top/README.md"; do
	grep -q '^```console$' "$page" || continue
	mkdir "$scratch/session" && cd "$scratch/session" && ln -s "$PFFS_TEST_MOUNT" mnt &&
		ln -s "$top/clients" clients && ln -s "$scratch/app/node_modules" node_modules || exit 1
	take_in "$top/tests/doors/env" "$top/tests/tools/doc-session" "$page"
	cd "$scratch" && rm -rf "$scratch/session"
done
done_testing
