# Says what this machine is: lines of a key and a value, between two marks that nobody can guess.
# It comes in on standard input, behind a line that sets mark. POSIX sh and coreutils, nothing else that must be there.
printf '\n%s begin\n' "$mark" >&2
printf '\n%s begin\n' "$mark"
{
  say() { [ -z "$2" ] || printf '%s %s\n' "$1" "$2"; }
  first() { head -n 1 | cut -c 1-4000; }

  say on-path "$(command -v nix-daemon)"
  nix_dirs=/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin:$HOME/.nix-profile/bin
  nix_dirs=$nix_dirs:$HOME/.local/state/nix/profile/bin:/etc/profiles/per-user/$(id -un)/bin
  PATH=$PATH:$nix_dirs:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
  export PATH

  os=$(uname -s)
  say os "$os"
  say machine "$(uname -m)"
  say user "$(id -un)"
  say clock "$(date +%s)"

  daemon=$(command -v nix-daemon)
  say nix-daemon "$daemon"
  nix=${daemon%/*}/nix
  [ -x "$nix" ] || nix=$(command -v nix)
  [ -z "$nix" ] || say nix-version "$("$nix" --version | first)"

  config=
  for words in 'config show' show-config; do
    [ -n "$config" ] || [ -z "$nix" ] || config=$("$nix" --extra-experimental-features nix-command $words)
  done
  [ -n "$config" ] || config=$(head -c 32768 "${NIX_CONF_DIR:-/etc/nix}/nix.conf")
  printf '%s\n' "$config" | grep -E '^(system|extra-platforms|system-features|build-users-group|sandbox|max-jobs) *=' |
    cut -c 1-4000 | sed 's/^/setting /'

  socket=${NIX_DAEMON_SOCKET_PATH:-${NIX_STATE_DIR:-/nix/var/nix}/daemon-socket/socket}
  [ -S "$socket" ] && [ -w "$socket" ] && say socket "$socket"

  for agent in "$MUSTER_AGENT_SOCKET" "$XDG_RUNTIME_DIR/muster-builder/agent.sock" \
    "/tmp/muster-$(id -u)/muster-builder/agent.sock" /run/muster-builder/agent.sock /var/run/muster-builder/agent.sock; do
    [ -S "$agent" ] && [ -w "$agent" ] && say agent "$agent" && break
  done
  say muster "$(command -v muster)"
  say serve "$MUSTER_SERVE"

  group=$(printf '%s\n' "$config" | sed -n 's/^build-users-group *= *//p' | first)
  if [ "$os" = Darwin ]; then
    say cores "$(sysctl -n hw.logicalcpu)"
    say memory "$(sysctl -n hw.memsize)"
    say boot-id "$(sysctl -n kern.bootsessionuuid)"
    say machine-id "$(ioreg -rd1 -c IOPlatformExpertDevice | sed -n 's/.*"IOPlatformUUID" = "\(.*\)"/\1/p')"
    members=$(dscl . -read "/Groups/${group:-nixbld}" GroupMembership | sed 's/^[^:]*: *//')
  else
    say cores "$(nproc || getconf _NPROCESSORS_ONLN)"
    say memory-kib "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
    say boot-id "$(cat /proc/sys/kernel/random/boot_id)"
    say machine-id "$(cat /etc/machine-id || cat /var/lib/dbus/machine-id)"
    members=$( (getent group "${group:-nixbld}" || grep "^${group:-nixbld}:" /etc/group) | sed 's/.*://' | tr , ' ')
  fi
  set -- $members
  [ $# = 0 ] || say build-users $#

  store=${NIX_STORE_DIR:-/nix/store}
  [ -d "$store" ] || store=/
  say store-free-kib "$(df -Pk "$store" | awk 'NR == 2 { print $4 }')"

  if [ ! -e /dev/kvm ]; then say kvm none
  elif (: <>/dev/kvm); then say kvm yes
  else say kvm denied
  fi
  for format in /proc/sys/fs/binfmt_misc/*; do
    case $format in */register | */status | *'*') continue ;; esac
    [ "$(head -n 1 "$format")" = enabled ] && say binfmt "${format##*/}"
  done
  :
} </dev/null 2>/dev/null
printf '%s end\n' "$mark"
