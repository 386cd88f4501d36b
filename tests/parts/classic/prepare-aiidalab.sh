#!/bin/bash
# The home, which may be a new volume.
set -e
chown "$SYSTEM_USER:$SYSTEM_USER" "/home/$SYSTEM_USER"
su "$SYSTEM_USER" -c 'mkdir -p ~/apps'
