# What quickstart and check share. Sourced by them from the top of the source tree.
# shellcheck shell=bash

# die SENTENCE...: say why, and end.
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# require_debian: this is Debian 12 and we are root, or say what is wrong and end.
require_debian() {
	local id version
	# shellcheck source=/dev/null
	id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}")
	# shellcheck source=/dev/null
	version=$(. /etc/os-release 2>/dev/null && echo "${VERSION_ID:-}")
	[ "$id $version" = "debian 12" ] ||
		die "this is '$id $version'; the packages and images are made for Debian 12"
	[ "$(uname -m)" = x86_64 ] || die "this is $(uname -m); pffs knows x86_64 only"
	[ "$(id -u)" = 0 ] ||
		die "run me as root: I install packages, build images and mount"
}

# start_log FILE: where the noisy steps write.
start_log() {
	log=$1
	: >"$log" || die "cannot write $log"
}

# step NAME COMMAND...: run a noisy step with its output in the log. Say how long it
# took; when it fails, show the end of what it said and end.
step() {
	local name=$1 start=$SECONDS from
	shift
	printf '== %s ... ' "$name"
	from=$(wc -l <"$log")
	if "$@" >>"$log" 2>&1; then
		printf '%d s\n' $((SECONDS - start))
		return
	fi
	printf 'failed\n'
	tail -n +$((from + 1)) "$log" | tail -n 40 >&2
	die "$name failed; all of it is in $log"
}

# make_images BUILD: kernel, templates and the emulated host. It shows how it gets on.
make_images() {
	local start=$SECONDS
	echo "== make the images (minutes the first time)"
	"$1" all || die "making the images failed; see above"
	printf '== make the images ... %d s\n' $((SECONDS - start))
}

# packages NEED...: the names in packages.txt that one of NEED has.
packages() {
	local need
	for need; do
		sed -n "s/^$need  *//p" packages.txt
	done
}

# missing_packages NEED...: those that are not installed.
missing_packages() {
	local name
	for name in $(packages "$@"); do
		dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null |
			grep -qx installed || echo "$name"
	done
}

# install_packages NEED...: install what is missing. Nothing is asked and nothing is
# downloaded when all is there.
install_packages() {
	local names
	names=$(missing_packages "$@")
	[ -n "$names" ] || return 0
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update || return
	# shellcheck disable=SC2086 # a list of names
	apt-get -q install -y --no-install-recommends $names
}

# make_user: whose rights pffs has when root starts it.
make_user() {
	id -u pffs >/dev/null 2>&1 ||
		useradd --system --user-group --no-create-home --home-dir /nonexistent \
			--shell /usr/sbin/nologin --comment "pffs sandboxes" pffs
}

# build DIR [CONFIGURE OPTION...]: configure and make the tree in DIR.
build() {
	(
		cd "$1" && shift &&
			{ [ -x configure ] || autoreconf -fi; } &&
			{ [ -e Makefile ] || ./configure "$@"; } &&
			make -j"$(nproc)"
	)
}
