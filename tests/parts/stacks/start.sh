#!/bin/bash
# Runs the hooks and then the command. A container that begins as root gets the user that NB_USER, NB_UID and NB_GID
# describe first, and the command runs as that user.
set -e

# A script is part of this one, so that what it exports stays; anything else is a program.
run_hooks() {
    local hook
    for hook in "$1"/*; do
        case $hook in
            *.sh)
                echo "hook: $hook"
                # shellcheck source=/dev/null
                . "$hook"
                ;;
            *)
                if [[ -f $hook && -x $hook ]]; then
                    echo "hook: $hook"
                    "$hook"
                fi
                ;;
        esac
    done
}

yes() { [[ $1 == yes || $1 == 1 ]]; }

become_described() {
    local home=/home/$NB_USER
    if id jovyan >/dev/null 2>&1 && [[ $NB_USER != jovyan ]]; then
        usermod --home "$home" --login "$NB_USER" jovyan
    fi
    if [[ $(id -u "$NB_USER"):$(id -g "$NB_USER") != "$NB_UID:$NB_GID" ]]; then
        getent group "$NB_GID" >/dev/null || groupadd --gid "$NB_GID" "${NB_GROUP:-$NB_USER}"
        userdel "$NB_USER"
        useradd --no-log-init --home "$home" --shell /bin/bash --uid "$NB_UID" --gid "$NB_GID" --groups 100 "$NB_USER"
    fi
    if [[ ! -e $home ]]; then
        mkdir "$home"
        cp -a /home/jovyan/. "$home/"
    fi
    if [[ $PWD/ == /home/jovyan/* ]]; then cd "$home"; fi
    if yes "$CHOWN_HOME"; then
        # shellcheck disable=SC2086  # a list of options
        chown $CHOWN_HOME_OPTS "$NB_UID:$NB_GID" "$home"
    fi
    local folder
    for folder in ${CHOWN_EXTRA//,/ }; do
        # shellcheck disable=SC2086
        chown $CHOWN_EXTRA_OPTS "$NB_UID:$NB_GID" "$folder"
    done
    if yes "$GRANT_SUDO"; then
        echo "$NB_USER ALL=(ALL) NOPASSWD:ALL" >/etc/sudoers.d/granted
    fi
    export XDG_CACHE_HOME=$home/.cache
}

forget() {
    local name
    for name in ${JUPYTER_ENV_VARS_TO_UNSET//,/ }; do unset "$name"; done
}

(($#)) || set -- bash
run_hooks /usr/local/bin/start-notebook.d
if ((EUID)); then
    run_hooks /usr/local/bin/before-notebook.d
    forget
    exec "$@"
fi
become_described
run_hooks /usr/local/bin/before-notebook.d
forget
exec sudo --preserve-env --set-home --user "$NB_USER" PATH="$PATH" "$@"
