#!/bin/bash
# Bit 1: apps and what was installed for the user alone. Bit 2: everything in the home.
home=/home/$SYSTEM_USER
file=$home/AIIDALAB_FACTORY_RESET
reset=0
if [[ -e $file ]]; then
    reset=$(<"$file")
    rm "$file"
fi
reset=${AIIDALAB_FACTORY_RESET:-$reset}
if ((reset & 1)); then rm -rf "$home/apps" "$home/.local"; fi
if ((reset & 2)); then find "$home/" -mindepth 1 -delete; fi
exit 0
