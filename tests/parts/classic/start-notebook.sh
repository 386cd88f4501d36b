#!/bin/bash
# Under a hub the single-user server, else the notebook.
export HOME=/home/$SYSTEM_USER
cd "$HOME" || exit
if [[ $JUPYTERHUB_API_TOKEN ]]; then
    exec /opt/aiidalab-singleuser --ip=0.0.0.0 --port=8888 --notebook-dir="$HOME" --NotebookApp.default_url=/tree
fi
exec jupyter notebook --ip=0.0.0.0 --port=8888 --no-browser --notebook-dir="$HOME" --NotebookApp.default_url=/tree
