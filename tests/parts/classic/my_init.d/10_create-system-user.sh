#!/bin/bash
# The user, and what a new home has.
set -e
home=/home/$SYSTEM_USER
mkdir -p "$home"
id "$SYSTEM_USER" >/dev/null 2>&1 \
    || useradd --home "$home" --uid "$SYSTEM_USER_UID" --user-group --shell /bin/bash "$SYSTEM_USER"
chown "$SYSTEM_USER:$SYSTEM_USER" "$home" /opt/conda
new=
for file in .bashrc .bash_logout .profile; do
    if [[ ! -e $home/$file ]]; then
        cp "/etc/skel/$file" "$home/"
        new=yes
    fi
done
if [[ ! -e $home/.ssh ]]; then
    mkdir -m 700 "$home/.ssh"
    touch "$home/.ssh/known_hosts"
    ssh-keygen -q -t rsa -b 4096 -m PEM -N '' -f "$home/.ssh/id_rsa"
    new=yes
fi
if [[ $new ]]; then chown -R "$SYSTEM_USER:$SYSTEM_USER" "$home"; fi
