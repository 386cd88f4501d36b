# shellcheck shell=bash disable=SC2034
# What the scripts of this folder share: places, versions, and how they speak. Sourced, never run.

parts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# Outside the build folder, which is wiped: these downloads and images are dear.
cache=${HUBGATE_TEST_CACHE:-$HOME/.cache/hubgate-tests}

keycloak_version=26.7.4
keycloak_sha256=04823c336b797a7e18889a44262a7a64e6bf624cbbcc518c85e2622176ff2eee
keycloak_home=$cache/keycloak-$keycloak_version

# Clients of the REST API, with all that they need, in exact versions.
clients=$parts/clients.txt
clients_home=$cache/clients-$(sha256sum "$clients" | cut -c1-12)
# A JupyterHub with its DockerSpawner, whose containers hubgate takes over.
jupyterhub=$parts/jupyterhub.txt
jupyterhub_home=$cache/jupyterhub-$(sha256sum "$jupyterhub" | cut -c1-12)

lab_image=hubgate-test/lab:1
singleuser_image=hubgate-test/singleuser:1
systemd_image=hubgate-test/systemd:1
# As the images that people have behind their hubs.
stacks_image=hubgate-test/stacks:1
aiida_image=hubgate-test/aiida:1
aiidalab_image=hubgate-test/aiidalab:1
classic_image=hubgate-test/classic:1
web_image=hubgate-test/web:1
pyiron_kinds=(base atomistics continuum)
# Versions of JupyterHub beside the one of that image.
singleuser_versions=(2.3 3.1 4.1 6.1)

pyiron_image_of() { echo "hubgate-test/pyiron-$1:1"; }
singleuser_image_of() { echo "hubgate-test/singleuser-$1:1"; }

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

fail() {
    printf 'error: %s\n  hint: %s\n' "$1" "$2" >&2
    exit 1
}

# A command on the path, or a program at an absolute path.
has() { command -v "$1" >/dev/null 2>&1; }

need() {
    local word
    for word in "$@"; do
        has "$word" || fail "$word is not installed" "run tests/parts/install"
    done
}

# await SECONDS CONDITION…: asks again and again; fails when the time is over.
await() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

gone() { ! kill -0 -- "$1" 2>/dev/null; }

# Ends a process that we started, or the group of one (a negative number), and waits for its end.
end() {
    kill -TERM -- "$1" 2>/dev/null || return 0
    # A stopped process does not hear TERM before it goes on.
    kill -CONT -- "$1" 2>/dev/null || true
    await "${2:-20}" gone "$1" || kill -KILL -- "$1" 2>/dev/null || true
}

# Below the range that the kernel gives to outgoing connections, so that none takes it before its server does.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}
