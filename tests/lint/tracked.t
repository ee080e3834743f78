#!/bin/bash
# Every file that a Makefile.inc distributes or builds from is there, and in git where this
# is a checkout: what .gitignore hides would be lost without a word. And a test that is
# a script can be run by itself.
. "$(dirname "$0")/lint.sh"

# named_files: the sources, the scripts and what else is distributed; of a unit test
# that is a program, NAME.t.c.
named_files() {
	local includes
	mapfile -t includes < <(sources Makefile.inc)
	sed -e 's/#.*//' -e ':more' -e '/\\$/{N;s/\\\n/ /;b more' -e '}' "${includes[@]}" |
		awk '$2 !~ /^[+]?=$/ { next }
			$1 == "check_PROGRAMS" { for (i = 3; i <= NF; i++) print $i ".c"; next }
			$1 ~ /(_SOURCES|_DATA|_SCRIPTS|_scripts|_files|DIST|PYTHON)$/ && $1 !~ /^(nodist_|BUILT_)/ {
				for (i = 3; i <= NF; i++) if ($i ~ /^[^$]+\//) print $i
			}' | sort -u
}

# kept FILE: git has it; in a copy that is no checkout, it is there.
kept() {
	if [ "$checkout" = 1 ]; then
		[ -n "$(git ls-files -- "$1")" ]
	else
		[ -e "$1" ]
	fi
}

checkout=0
top=$(git rev-parse --show-toplevel 2>/dev/null) && [ "$top" -ef . ] && checkout=1
mapfile -t files < <(named_files)
echo "1..$((${#files[@]} + 1))"
number=0 failed=0
for file in "${files[@]}"; do
	number=$((number + 1))
	if kept "$file"; then
		echo "ok $number - kept $file"
	else
		echo "not ok $number - kept $file"
		failed=1
	fi
done
number=$((number + 1))
if unfit=$(find tests -name '*.t' ! -perm -u+x) && [ -z "$unfit" ]; then
	echo "ok $number - every test can be run by itself"
else
	echo "not ok $number - every test can be run by itself: $unfit"
	failed=1
fi
exit "$failed"
