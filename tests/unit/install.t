#!/bin/bash
# `make install` puts everything in its place that the installed programs look for.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
tests=0 failures=0

# ok NAME COMMAND...: the command succeeds.
ok() {
	local name=$1 said
	shift
	tests=$((tests + 1))
	if said=$("$@" 2>&1); then
		echo "ok $tests - $name"
	else
		echo "not ok $tests - $name"
		failures=$((failures + 1))
		printf '%s\n' "$*" "$said" | sed 's/^/# /' >&2
	fi
}

cd "$top" || exit 1
ok "make install" make -s install DESTDIR="$work" prefix=/usr
share=$work/usr/share/pffs
ok "the scripts and recipes of images are there, as they are here" \
	diff -r --exclude=.deps "$top/guest/images" "$share/guest/images"
ok "with their modes" diff <(cd guest/images && find . -type f -printf '%p %#m\n' | sort) \
	<(cd "$share/guest/images" && find . -type f -printf '%p %#m\n' | sort)
ok "and what they put into the guests' initramfs" \
	test -x "$share/guest/agent/agent" -a -r "$share/guest/repl.py"
ok "and the programs" test -x "$work/usr/bin/pffs" -a -x "$work/usr/bin/vmctl"
ok "and the manual page, and the completion for bash by the name of the command" \
	test -r "$work/usr/share/man/man1/pffs.1" -a -r "$work/usr/share/bash-completion/completions/pffs"
echo "1..$tests"
[ "$failures" = 0 ]
