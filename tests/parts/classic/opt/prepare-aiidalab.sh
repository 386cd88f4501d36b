#!/bin/bash
# The apps: home, and at the first start those that the environment names.
apps=/home/$SYSTEM_USER/apps
first=
[[ -e $apps ]] || first=yes
mkdir -p "$apps"
[[ -e $apps/home ]] || ln -s /opt/aiidalab-home "$apps/home"
if [[ $first ]]; then
    for app in $AIIDALAB_DEFAULT_APPS; do aiidalab install --yes "$app"; done
fi
