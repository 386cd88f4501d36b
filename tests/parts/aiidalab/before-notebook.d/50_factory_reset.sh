# Bit 1: apps and what was installed for the user alone. Bit 2: everything in the home.
reset=0
if [[ -e $HOME/AIIDALAB_FACTORY_RESET ]]; then
    reset=$(<"$HOME/AIIDALAB_FACTORY_RESET")
    rm "$HOME/AIIDALAB_FACTORY_RESET"
fi
reset=${AIIDALAB_FACTORY_RESET:-$reset}
if ((reset & 1)); then
    rm -rf "$HOME/apps" "$HOME/.local"
fi
if ((reset & 2)); then
    find "$HOME/" -mindepth 1 -delete
fi
