# shellcheck shell=bash
# What every script in ci/ shares: installing what is missing from Debian's packages, and building.
# Sourced, never run. Sets $top (the repository) and goes there.

set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"

# Compiling needs these; the numbers behind "rust" and "node" are the oldest versions that do.
build_packages=(ca-certificates gcc libc6-dev pkg-config cmake make
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev libssl-dev)
rust_packages=(rustc-web cargo-web)
node_packages=(nodejs npm)
rust_oldest=1.92
node_oldest=18

# Running needs these.
run_packages=(gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-nice gstreamer1.0-alsa gstreamer1.0-x
  gstreamer1.0-espeak gstreamer1.0-libcamera espeak-ng-data fonts-dejavu-core)

# The tests need these as well.
test_packages=(gstreamer1.0-tools chromium firefox-esr libnss3-tools openssl procps iproute2
  python3 python3-venv ffmpeg pulseaudio pulseaudio-utils libasound2-plugins)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# at_least HAVE WANT: compares version numbers.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  command -v sudo >/dev/null || fail "installing packages needs root: install sudo, or run once as root: $*"
  sudo "$@"
}

# install_packages NAME...: installs those that are not there.
install_packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "this is not Debian; install by hand: ${missing[*]}"
  say "installing ${#missing[@]} packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}

# Debian's Rust of the security updates: that of the release itself is too old, and may be there already.
install_rust() {
  install_packages "${rust_packages[@]}"
  hash -r
  at_least "$(rustc --version | cut -d' ' -f2)" "$rust_oldest" && return
  case $(command -v rustc) in
    /usr/bin/*) ;;
    *) fail "$(command -v rustc) is older than $rust_oldest and stands before Debian's; remove it from PATH" ;;
  esac
  say "bringing Debian's Rust up to date"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${rust_packages[@]}" >&2
  hash -r
  at_least "$(rustc --version | cut -d' ' -f2)" "$rust_oldest" ||
    fail "Rust $rust_oldest is needed, and apt knows only $(rustc --version | cut -d' ' -f2): it comes with Debian's security updates; add the suite $(
      . /etc/os-release; printf '%s' "$VERSION_CODENAME")-security to apt's sources"
}

install_for_build() {
  install_packages "${build_packages[@]}" "${run_packages[@]}"
  if ! { command -v cargo && command -v rustc; } >/dev/null || ! at_least "$(rustc --version | cut -d' ' -f2)" "$rust_oldest"; then
    install_rust
  fi
  if ! { command -v node && command -v npm; } >/dev/null || ! at_least "$(node --version | tr -d v)" "$node_oldest"; then
    install_packages "${node_packages[@]}"
    hash -r
  fi
}

# newer_than STAMP PATH...: whether anything below the paths is newer than the stamp, or the stamp is missing.
newer_than() {
  local stamp=$1; shift
  [ ! -e "$stamp" ] || [ -n "$(find "$@" -newer "$stamp" -print -quit)" ]
}

web_app_inputs=(web-app/src web-app/public web-app/index.html web-app/package.json web-app/package-lock.json web-app/vite.config.ts web-app/tsconfig.json)

build_web_app() {
  if newer_than web-app/node_modules/.package-lock.json web-app/package-lock.json; then
    say "fetching the web app's libraries"
    (cd web-app && npm ci --no-audit --no-fund --loglevel=error) >&2
    touch web-app/node_modules/.package-lock.json
  fi
  if newer_than web-app/dist/index.html "${web_app_inputs[@]}"; then
    say "building the web app"
    (cd web-app && npm run --silent build) >&2
  fi
}

# Whether something that the program is made of is newer than its last build.
program_is_old() {
  [ ! -x target/release/duplex ] || newer_than target/release/.duplex-built Cargo.toml Cargo.lock .cargo build.rs src pki/Cargo.toml pki/src "${web_app_inputs[@]}"
}

# build CARGO_ARGS...: the page goes into the program, so it comes first.
build() {
  build_web_app
  if program_is_old; then say "building the service (the first time takes some minutes)"; fi
  cargo build --release --locked "$@" >&2
  touch target/release/.duplex-built
}

# The Python tools of tests and measurements, in a folder of their own.
python_env() {
  local stamp=ci/.venv/.ready
  newer_than "$stamp" ci/requirements.txt || return 0
  rm -rf ci/.venv
  python3 -m venv ci/.venv
  ci/.venv/bin/pip install --quiet --disable-pip-version-check -r ci/requirements.txt
  touch "$stamp"
}
