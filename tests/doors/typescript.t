#!/bin/bash
# The TypeScript client, as who installs it has it, with the server of the mount.
. "$(dirname "$0")/../mount/lib.sh"
export PFFS_TEST_HTTP PFFS_TEST_API PFFS_TEST_MOUNT PFFS_TEST_WAIT=$wait_limit
env=$top/tests/doors/env

# What a test that failed has left.
also_clean_up() {
	local dir
	for dir in "$PFFS_TEST_MOUNT"/ts-*/; do
		[ ! -d "$dir" ] || remove_all "${dir%/}"
	done
}

# app_tests FILE: those of one file, and of each that fails why.
app_tests() {
	take_in "$env" node --test --test-timeout=$((file_limit * 1000)) \
		--test-reporter=tap --test-reporter-destination=stdout \
		--test-reporter=dot --test-reporter-destination=stderr "test/$1.test.ts"
}

ok "it builds and packs" within "$file_limit" "$top/tests/doors/typescript-app" "$scratch/app"
is "$(tar -t -z -f "$scratch"/app/pffs-*.tgz | grep -Ev '^package/(dist/[a-z-]+(\.d\.ts|\.js)|README\.md|package\.json)$')" \
	"" "the package has what a user needs and nothing else"
is "$(cd "$scratch/app/package" && "$env" node -p 'Object.keys(require("./package.json").dependencies ?? {}).length')" 0 \
	"it depends on no other package"
cd "$scratch/app" || exit 1
ok "its types and those of its tests are right" within "$wait_limit" "$env" package/node_modules/.bin/tsc -p package
app_tests client
app_tests sandbox
app_tests ai-sdk
done_testing
