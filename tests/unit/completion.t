#!/bin/bash
# Completion in bash knows the commands and options that pffs has, and the sandboxes; the
# manual page knows the commands.
set -u
export LC_ALL=C
top=$(cd "$(dirname "$0")/../.." && pwd)
pffs=${PFFS_BUILD:-$top}/pffs/pffs
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
tests=0 failures=0

# is GOT WANT NAME
is() {
	tests=$((tests + 1))
	if [ "$1" = "$2" ]; then
		echo "ok $tests - $3"
	else
		echo "not ok $tests - $3"
		failures=$((failures + 1))
		printf 'got:  %s\nwant: %s\n' "$1" "$2" | sed 's/^/# /' >&2
	fi
}

# A pffs that has these sandboxes.
cat > "$work/pffs" <<'END'
#!/bin/sh
[ "$*" = "ls --quiet" ] && printf '%s\n' demo demo/forks/x other
END
chmod +x "$work/pffs"

# shellcheck source=pffs/cli/pffs.bash
. "$top/pffs/cli/pffs.bash"
mkdir "$work/here" && cd "$work/here" && touch data.csv script.py && mkdir dir || exit 1

# completed WORD...: what comes of the last word, sorted, in one line.
completed() {
	COMP_WORDS=("$work/pffs" "$@") COMP_CWORD=$# COMPREPLY=()
	_pffs
	printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd ' '
}

is "$(completed r)" "resume rm run" "the first word is a command"
is "$(completed run --k)" "--keep" "a word with dashes an option of it"
is "$(completed run --in d)" "demo demo/forks/x" "what follows --in is a sandbox"
is "$(completed run s)" "script.py" "pffs run takes a file"
is "$(completed exec o)" "other" "pffs exec a sandbox"
is "$(completed exec d)" "demo demo/forks/x dir" "by name, or by a directory in a mount"
is "$(completed exec demo x)" "" "and then what nobody can guess"
is "$(completed rm -r demo o)" "other" "pffs rm takes any number"
is "$(completed diff demo p)" "parent" "a target of pffs diff may be the parent"
is "$(completed cp da)" "data.csv" "pffs cp takes a file"
is "$(completed cp data.csv de)" "demo/forks/x: demo:" "and a sandbox"
is "$(completed template f)" "freeze" "pffs template has commands of its own"
is "$(complete -p pffs)" "complete -F _pffs pffs" "bash calls it for pffs"

mapfile -t commands < <("$pffs" --help | sed -n 's/^  pffs \([a-z]*\) .*/\1/p')
known=$(completed "" | tr ' ' '\n')
missing=()
for command in "${commands[@]}"; do
	grep -qx -- "$command" <<< "$known" || missing+=("$command")
done
is "${missing[*]}" "" "every command of pffs --help is completed"

missing=()
for command in "${commands[@]}"; do
	grep -Eq "^\.It Cm $command( |\$)" "$top/pffs/cli/pffs.1" || missing+=("$command")
done
is "${missing[*]}" "" "and is in the manual page"

# options COMMAND: the long ones that its help has.
options() {
	"$pffs" "$1" --help | grep -oE -- '--[a-z]+(-[a-z]+)*' | sort -u
}
missing=()
for command in "${commands[@]}"; do
	while read -r option; do
		[ "$(completed "$command" "$option" | tr ' ' '\n' | grep -cx -- "$option")" = 1 ] ||
			missing+=("$command $option")
	done < <(options "$command")
done
is "${missing[*]}" "" "every option that a command's help has is completed"

extra=()
for command in "${commands[@]}"; do
	for option in $(completed "$command" --); do
		[ "$option" = --help ] || options "$command" | grep -qx -- "$option" || extra+=("$command $option")
	done
done
is "${extra[*]}" "" "and no other"

if command -v mandoc > /dev/null; then
	is "$(mandoc -T lint -W warning "$top/pffs/cli/pffs.1" 2>&1)" "" "mandoc finds nothing in the manual page"
fi
echo "1..$tests"
[ "$failures" = 0 ]
