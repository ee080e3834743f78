# One test per file for a lint tool. Sourced by the *.t beside it.
# shellcheck shell=bash
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
renice -n 15 $$ >/dev/null # there may be other tests beside

# need TOOL: without it there is nothing to test here.
need() {
	command -v "$1" >/dev/null && return
	if [ "${PFFS_MUST_WORK:-}" = 1 ]; then
		echo "1..1"
		echo "not ok 1 - $1 is installed"
		exit 1
	fi
	echo "1..0 # SKIP $1 is not installed"
	exit 0
}

# sources PATTERN...: our files with such names, without what a build generates.
sources() {
	local pattern names=()
	for pattern; do
		names+=(-o -name "$pattern")
	done
	find . \( -name .git -o -path ./mnt -o -path './build-*' -o -name autom4te.cache \) -prune \
		-o -type f ! -name config.h \( "${names[@]:1}" \) -printf '%P\n' | sort
}

# shell_scripts: every file that a shell reads, by its name or its first line.
shell_scripts() {
	{
		sources '*.sh'
		find . \( -name .git -o -path ./mnt -o -path './build-*' -o -name autom4te.cache \) -prune \
			-o -type f ! -name '*.[cho]' ! -name configure ! -name config.status \
			-size -1000k -exec grep -IlE -m1 '^#!/(usr/)?bin/(env )?(ba|da)?sh' {} + |
			sed 's|^\./||'
	} | sort -u
}

# lint_each NAME COMMAND... --- FILE...: COMMAND, in which FILE stands for each FILE,
# finds nothing. As many at a time as there are processors; what one says about a file
# comes with it.
lint_each() {
	local name=$1 command=() out failed=0 i=0 file
	shift
	while [ "$1" != --- ]; do
		command+=("$1")
		shift
	done
	shift
	out=$(mktemp -d) || exit 1
	# shellcheck disable=SC2016 # the inner shell expands these
	printf '%s\0' "$@" |
		xargs -0 -P "$(nproc)" -I FILE bash -c '
			key=$1/${2//\//%}; shift 2
			"$@" >"$key.log" 2>&1; echo $? >"$key.status"' \
			lint "$out" FILE "${command[@]}"
	echo "1..$#"
	for file; do
		i=$((i + 1))
		if [ "$(cat "$out/${file//\//%}.status")" = 0 ]; then
			echo "ok $i - $name $file"
		else
			echo "not ok $i - $name $file"
			sed 's/^/# /' "$out/${file//\//%}.log" >&2
			failed=1
		fi
	done
	rm -rf "$out"
	exit "$failed"
}
