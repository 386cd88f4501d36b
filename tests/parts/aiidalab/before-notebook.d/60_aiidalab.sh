# The apps: home, and at the first start those that the environment names.
first=
[[ -n $(ls -A "$HOME/apps" 2>/dev/null) ]] || first=yes
mkdir -p "$HOME/apps"
[[ -e $HOME/apps/home ]] || ln -s /opt/aiidalab-home "$HOME/apps/home"
if [[ $first ]]; then
    for app in $AIIDALAB_DEFAULT_APPS; do aiidalab install --yes "$app"; done
fi
