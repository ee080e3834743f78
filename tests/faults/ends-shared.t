#!/bin/bash
# ends.t where mounts are shared, as systemd has them.
exec unshare --mount --propagation shared "$(dirname "$0")/ends.t"
