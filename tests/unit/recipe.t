#!/bin/bash
# Templates of one's own recipes: what guest/images/build makes of a folder, with
# mmdebstrap and mkfs.erofs replaced by programs that tell what they were asked for.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$here/../../guest/images/build
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export PFFS_IMAGES=$work/images PATH=$work/bin:$PATH LC_ALL=C
tests=0 failures=0

if [ "$(id -u)" != 0 ]; then
	[ "${PFFS_MUST_WORK:-}" = 1 ] && echo "1..1" && echo "not ok 1 - runs as root" && exit 1
	echo "1..0 # SKIP making images needs root"
	exit 0
fi

# is GOT WANT NAME, like GOT PATTERN NAME: one test each.
result() {
	tests=$((tests + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tests - $2"
	else
		echo "not ok $tests - $2"
		failures=$((failures + 1))
		printf '%s\n' "got: $3" "want: $4" | sed 's/^/# /' >&2
	fi
}

is() {
	[ "$1" = "$2" ]
	result $? "$3" "$1" "$2"
}

like() {
	[[ $1 =~ $2 ]]
	result $? "$3" "$1" "$2"
}

# The root file system is made of what the hooks do to it, the image is a list of it.
fake_tools() {
	mkdir "$work/bin"
	cat >"$work/bin/mmdebstrap" <<'FAKE'
#!/bin/bash
args=("$@")
for ((i = 0; i < $#; i++)); do
	[[ ${args[i]} != bookworm ]] || root=${args[i + 1]}
done
mkdir -p "$root"/{etc/apt/apt.conf.d,var/lib/apt/lists,var/lib/dpkg,var/log,usr/share/doc}
mkdir -p "$root"/usr/share/{man,info,locale,lintian,doc-base} "$root/etc/dpkg/dpkg.cfg.d"
echo "Date: Sat, 01 Jan 2022 00:00:00 UTC" >"$root/var/lib/apt/lists/x_Release"
touch "$root/etc/shadow" "$root/var/lib/dpkg/status"
for arg; do
	case $arg in
	--include=*) echo "${arg#*=}" >"$root/included" ;;
	--customize-hook=*) sh -c "${arg#*=}" sh "$root" || exit ;;
	esac
done
FAKE
	cat >"$work/bin/mkfs.erofs" <<'FAKE'
#!/bin/bash
root=${*: -1} image=${*: -2:1}
cat "$root/included" >"$image"
(cd "$root" && find . -name 'mine*' -print -exec cat {} +) >>"$image"
FAKE
	chmod +x "$work/bin/"*
}

# recipe FOLDER PACKAGES [BASE]
recipe() {
	mkdir -p "$1/files/etc"
	printf %s "$2" >"$1/packages"
	echo "a file of $(basename "$1")" >"$1/files/etc/mine-$(basename "$1")"
	[ $# -lt 3 ] || echo "$3" >"$1/base"
}

add() {
	"$build" --recipe "$@" 2>&1
}

image() {
	cat "$PFFS_IMAGES/templates/$1.erofs"
}

fake_tools
recipe "$work/plain" "python3 # and no more"
like "$(add "$work/plain" one)" "image one: done" "a template of a folder is made"
is "$(image one)" "python3
./etc/mine-plain
a file of plain" "of its packages and files"
like "$(cat "$PFFS_IMAGES/templates/one.info")" "name one.*key [0-9a-f]{64}" "and described"
is "$(ls "$PFFS_IMAGES")" "recipes
templates" "nothing else is made, and nothing left"
is "$(add "$work/plain" one)" "" "the same again is not made again"

# shellcheck disable=SC2016 # for the script that is written
printf '#!/bin/sh\necho customised > "$1/mine-too"\n' >"$work/plain/customise"
like "$(add "$work/plain" one)" "customise cannot be executed: chmod" "a customise that cannot run is told"
chmod +x "$work/plain/customise"
like "$(add "$work/plain" one)" "image one: done" "what has changed is made again"
like "$(image one)" customised "by what it says"

recipe "$work/more" "extra" one
like "$(add "$work/more" two)" "done" "a template can be based on one that was added"
like "$(image two)" "^python3,extra" "has the packages of both"
like "$(image two)" "a file of plain.*customised" "and what was done to the base"
rm -r "$work/plain" "$work/more"
rm "$PFFS_IMAGES/templates/two.info"
mkdir "$work/onlybase"
echo two >"$work/onlybase/base"
: >"$work/onlybase/packages"
like "$(add "$work/onlybase" three)" "done" "a recipe is kept when its folder is gone"

like "$(add "$work/onlybase" .x)" "name is 1 to 64" "a bad name is refused"
like "$(add "$work/onlybase" "$(printf %065d 0)")" "name is 1 to 64" "a long one too"
like "$(add "$work/onlybase" default)" "default is a name that pffs itself uses" \
	"and one of a recipe of pffs"
like "$(add "$work/nothing" four)" "nothing is not a folder" "a folder is needed"
mkdir "$work/empty"
like "$(add "$work/empty" four)" "no recipe: it has no file packages" "with a file packages"
echo absent >"$work/onlybase/base"
like "$(add "$work/onlybase" four)" "there is no recipe absent, the base of four" "and a base that is there"
echo four >"$work/onlybase/base"
like "$(add "$work/onlybase" four)" "names four itself" "which is another one"
is "$(cd "$PFFS_IMAGES" && echo recipes/* templates/four*)" \
	"recipes/one recipes/three recipes/two templates/four*" "what was refused leaves nothing"

printf '#!/bin/sh\necho "no such package"; exit 1\n' >"$work/bin/mmdebstrap"
echo one >"$work/onlybase/base"
add "$work/onlybase" four >"$work/said"
is "$?" 1 "a build that fails has a status"
like "$(cat "$work/said")" "no such package.*the whole log is" "and shows the end of its log"
is "$(cd "$PFFS_IMAGES" && echo recipes/four* .[rt]*)" "recipes/four* .[rt]*" "and leaves no template"

like "$("$build" --remove one 2>&1)" "one is the base of two" "the base of another one stays"
for name in three two one; do "$build" --remove "$name"; done
is "$(ls "$PFFS_IMAGES/templates" "$PFFS_IMAGES/recipes")" "$PFFS_IMAGES/recipes:

$PFFS_IMAGES/templates:" "--remove leaves nothing of a template"
like "$("$build" --remove one 2>&1)" "there is no template one" "or says that there is none"
echo "1..$tests"
[ "$failures" = 0 ]
