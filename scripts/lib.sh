# shellcheck shell=bash
# What the scripts share: where things are, how they talk, how they measure. Sourced, never run.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Downloads that are no Debian packages of this system and survive a fresh clone.
# shellcheck disable=SC2034  # for the scripts that source this file
cache=${PENSTOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/penstock}
target=${CARGO_TARGET_DIR:-$repository/target}

# A login shell may not have run since rustup was installed.
case ":$PATH:" in
*":$HOME/.cargo/bin:"*) ;;
*) PATH=$HOME/.cargo/bin:$PATH ;;
esac
# Debian keeps the mail programs where only root's PATH looks.
case ":$PATH:" in
*:/usr/sbin:*) ;;
*) PATH=$PATH:/usr/sbin:/sbin ;;
esac
export PATH

cd "$repository"

# One line about what is being done now.
say() {
    printf '\033[1m==>\033[0m %s\n' "$*" >&2
}

# Says why nothing more can be done, and ends the script.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        have sudo || die "this needs root or sudo: $*"
        sudo "$@"
    fi
}

# Builds the daemon as it is shipped and names it in PENSTOCK_BIN. Fails if it cannot, also where errors do not end
# the script.
build_daemon() {
    if [ -z "${PENSTOCK_BIN:-}" ]; then
        say "building penstock (release)"
        cargo build --locked --release -p penstock || return
        export PENSTOCK_BIN=$target/release/penstock
    fi
}

# Builds it also with faults on demand in its medium, for tests and benches, and names that in PENSTOCK_FAULTS_BIN.
build_daemons() {
    if [ -z "${PENSTOCK_FAULTS_BIN:-}" ]; then
        say "building penstock with faults on demand"
        cargo build --locked --release -p penstock --features faults || return
        # The next build takes the name.
        cp "$target/release/penstock" "$target/release/penstock-faults" || return
        export PENSTOCK_FAULTS_BIN=$target/release/penstock-faults
    fi
    build_daemon
}

# What the processor of a box runs.
box_target=aarch64-unknown-linux-musl

# What runs before Linux.
bare_target=aarch64-unknown-none

# The keys that a box is to know, in PENSTOCK_KEYS, and the file with the one that signs, in PENSTOCK_KEY. A pair for
# development is made at its first use, outside the clone. Who gives a key with PENSTOCK_KEY has boxes that know that one
# alone, or those in PENSTOCK_KEYS; who gives only PENSTOCK_KEYS signs elsewhere (penstock-image sign).
choose_keys() {
    if [ -n "${PENSTOCK_KEY:-}" ]; then
        if [ -z "${PENSTOCK_KEYS:-}" ]; then
            PENSTOCK_KEYS=$(penstock_image public "$PENSTOCK_KEY" "$PENSTOCK_KEY") || return
        fi
    elif [ -z "${PENSTOCK_KEYS:-}" ]; then
        PENSTOCK_KEYS=$(penstock_image development-keys "$cache/keys") || return
        PENSTOCK_KEY=$cache/keys/active.pem
    fi
    export PENSTOCK_KEYS PENSTOCK_KEY
}

# Builds the image of a box into a folder, with these settings or, where the name is empty, with none. No path of this
# machine gets into a program, so that the same sources and keys give the same bytes in any clone. What follows is for cargo
# and the binary of the box.
build_image() {
    local settings=$1 folder=$2 options=() kernel libraries libc
    local remap="--remap-path-prefix=$repository=/penstock --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    shift 2
    [ -z "$settings" ] || options+=(--settings "$settings")
    kernel=$(image/build-kernel qemu-virt) || return
    choose_keys || return
    [ -z "${PENSTOCK_KEY:-}" ] || options+=(--key "$PENSTOCK_KEY")
    say "building penstock for the box"
    mkdir -p "$target"
    # What is compiled is told by cargo itself, for the list of what is in the image. The flags for C are those of
    # .cargo/config.toml, and that no path gets in.
    CFLAGS_aarch64_unknown_linux_musl="-ffreestanding -DRING_CORE_NOSTDLIBINC=1 \
        -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo -ffile-prefix-map=$target=/target" \
        RUSTFLAGS=$remap cargo build --locked --release -p penstock --target "$box_target" \
        --message-format=json-render-diagnostics "$@" >"$target/box-messages.json" || return
    say "building the firmware"
    RUSTFLAGS=$remap cargo build --locked --profile firmware -p penstock-firmware --bin stage0 --bin firmware \
        --target "$bare_target" --message-format=json-render-diagnostics >"$target/bare-messages.json" || return
    options+=(--stage0 "$target/$bare_target/firmware/stage0" --firmware "$target/$bare_target/firmware/firmware"
        --firmware-messages "$target/bare-messages.json" --firmware-target "$bare_target")
    cargo metadata --locked --format-version 1 --filter-platform "$box_target" --filter-platform "$bare_target" \
        >"$target/box-metadata.json" || return
    # The C library comes with Rust, and says its version in itself alone.
    libraries=$(rustc --print sysroot)/lib/rustlib/$box_target/lib/self-contained
    libc=$(strings -n 5 "$libraries/libc.a" | grep -xE '[0-9]+\.[0-9]+\.[0-9]+') || return
    say "building the image"
    penstock_image build --board board/qemu-virt --kernel "$kernel" \
        --penstock "$target/$box_target/release/penstock" --messages "$target/box-messages.json" \
        --metadata "$target/box-metadata.json" --lock Cargo.lock --target "$box_target" \
        --rust "$(rustc --version | cut -d ' ' -f 2)" --libc "$libc" "${options[@]}" "$folder"
}

# The builder of images.
penstock_image() {
    cargo run --locked --quiet -p penstock-image -- "$@"
}

# Builds the image that tests and benches take and names it in PENSTOCK_IMAGE.
build_test_image() {
    if [ -z "${PENSTOCK_IMAGE:-}" ]; then
        build_image board/qemu-virt/settings.toml "$target/image" || return
        export PENSTOCK_IMAGE=$target/image
    fi
}

# Builds it also with faults on demand in its medium, for tests, and names that in PENSTOCK_FAULTS_IMAGE.
build_test_images() {
    if [ -z "${PENSTOCK_FAULTS_IMAGE:-}" ]; then
        build_image board/qemu-virt/settings.toml "$target/image-faults" --features faults || return
        export PENSTOCK_FAULTS_IMAGE=$target/image-faults
    fi
    build_test_image
}
