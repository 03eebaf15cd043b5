#!/bin/sh
# Installs the relays that ours is compared with, from Debian's packages, or those that are named. None
# of their services starts, now or at the next boot: the bench runs each by itself.
set -eu
peers=${*:-haproxy nginx libnginx-mod-stream socat syncthing-relaysrv magic-wormhole-transit-relay}
policy=/usr/sbin/policy-rc.d
new=$(for peer in $peers; do dpkg -s "$peer" >/dev/null 2>&1 || echo "$peer"; done)
[ -n "$new" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "not installed, and only root can: $new" | tr '\n' ' ' >&2
  echo >&2
  exit 0
fi
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' > $policy
  chmod +x $policy
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $new
if command -v systemctl >/dev/null; then
  for service in haproxy nginx syncthing-relaysrv; do
    case " $(echo $new) " in *" $service "*) systemctl disable --quiet $service || true ;; esac
  done
fi
