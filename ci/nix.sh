# shellcheck shell=bash
# How the scripts in ci/ use Nix: settings of their own, the machine's configuration stays as it is.
# Sourced after ci/lib.sh, never run.

# Debian's package when there is no Nix; any Nix from 2.8 on does.
install_nix() {
  command -v nix >/dev/null || install_packages nix-bin
  command -v curl >/dev/null || install_packages curl
  command -v python3 >/dev/null || install_packages python3
  command -v cargo >/dev/null || install_packages cargo-web
  command -v npm >/dev/null || install_packages npm
  nix_settings
}

nix_settings() {
  local settings='experimental-features = nix-command flakes
substituters =
sandbox = true'
  # As root without Nix's build users, as Debian's package leaves it, the builders run as root in the sandbox.
  if [ "$(id -u)" = 0 ] && ! getent group nixbld >/dev/null; then settings+=$'\nbuild-users-group ='; fi
  export NIX_CONFIG="$settings${NIX_CONFIG:+$'\n'$NIX_CONFIG}"
}
