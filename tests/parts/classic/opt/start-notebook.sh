#!/bin/bash
# Under a hub the single-user server, else the notebook: both of the system's Python, not of AiiDA's.
cd "/home/$SYSTEM_USER" || exit
arguments=(--ip=0.0.0.0 --port=8888 "--notebook-dir=/home/$SYSTEM_USER" --NotebookApp.default_url=/apps/apps/home/start.ipynb)
if [[ $JUPYTERHUB_API_TOKEN ]]; then
    /opt/jupyter/bin/python /opt/aiidalab-singleuser "${arguments[@]}"
else
    /opt/jupyter/bin/jupyter-notebook --no-browser "${arguments[@]}"
fi
