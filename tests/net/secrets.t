#!/bin/bash
# Secrets: a domain gets a header that the sandbox never sees. The domain is a host of world, whose
# certificates this machine and its emulated host trust. The resolver is named by an option,
# and is another one than that of /etc/resolv.conf.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
trusted=/etc/ssl/certs/ca-certificates.crt
. "$here/alone.sh"
[ -n "${PFFS_NET_WORK:-}" ] ||
	PFFS_TEST_OPTIONS="--dns 11.0.0.54" in_world "$here/../mount/setup" bash "$here/secrets.t"
. "$here/../mount/lib.sh"

# ask DIR URL [OPTION...]: what curl gets in a sandbox, or that it failed.
ask() {
	local dir=$1
	shift
	echo "curl -s --max-time 150 $* || echo failed" > "$dir/bash"
	cat "$dir/output"
}

# trusts DIR: its programs know a CA more than those of the image.
# shellcheck disable=SC2317 # wait_for calls it
trusts() {
	[ "$(grep -c BEGIN "$1/fs$trusted")" -gt "$known" ]
}

value=s3cr3t-5d1e
sandbox demo
known=$(grep -c BEGIN "demo/fs$trusted")
is "$(echo 'import socket; print(socket.gethostbyname("which.test"))' > demo/exec; cat demo/output)" 11.0.0.2 \
	"the resolver of the option is asked, and not the host's"
echo "api.test Authorization: Bearer $value" > demo/net/secrets
is "$(cat demo/net/secrets)" "api.test Authorization:" "what is read has no value"
ok "the host's CA comes into the guest's trust store" \
	wait_for 60 trusts demo
like "$(ask demo https://api.test/where -H "'Authorization: mine'")" "Bearer $value" \
	"the domain is sent the secret in place of what the guest sent"
like "$(ask demo https://api.test/where)" 11.0.0.10 "and asked at its own address"
is "$(echo 'import socket; print(socket.gethostbyname("api.test"))' > demo/exec; cat demo/output)" 198.19.0.2 \
	"in the guest it is the proxy"
is "$(ask demo https://web.test/where)" failed "another domain is not: nobody in the guest vouches for it"
is "$(echo "grep -rlsa $value /proc/[0-9]*/environ /etc /root /tmp /home /var | head -3" > demo/bash; cat demo/output)" "" \
	"the guest has the value nowhere"
ok "a fork is made" mkdir demo/forks/x
like "$(ask demo/forks/x https://api.test/where)" "Bearer $value" "which has the secret as well"
: > demo/forks/x/net/secrets
is "$(ask demo/forks/x https://api.test/where)" failed "until it has none"
sandbox late
ok "a sandbox without a secret is forked" mkdir late/forks/old
echo "api.test Authorization: Bearer $value" > late/net/secrets
ok "then it gets its first one" wait_for 60 trusts late
echo old > late/merge
is "$(sed -n 's/^result //p' late/merge)" merged "and becomes the fork, which is older"
echo freeze > late/ctl
ok "it is frozen before it was given the CA" wait_for 90 state_is late frozen
ok "its programs come to trust the CA when it is resumed" wait_for 60 trusts late
like "$(ask late https://api.test/where)" "Bearer $value" "so the secret is of use there"
echo allow > demo/net/egress
is "$(ask demo https://api.test/where)" failed "a secret does not open its domain"
echo api.test:443 > demo/net/allow
like "$(ask demo https://api.test/where)" "Bearer $value" "an entry does"
ok "which the log says" wait_for 20 grep -q '"api.test"' demo/net/log
not_ok "without the value" grep -rqs "$value" demo/net demo/error "$PFFS_TEST_LOG"
done_testing
