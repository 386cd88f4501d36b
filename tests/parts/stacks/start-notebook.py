#!/usr/bin/env python3
"""Starts JupyterLab, or what DOCKER_STACKS_JUPYTER_CMD says; under a hub, the single-user server."""

import os
import shlex
import sys

arguments = shlex.split(os.environ.get("NOTEBOOK_ARGS", "")) + sys.argv[1:]
if "JUPYTERHUB_API_TOKEN" in os.environ:
    words = ["start-singleuser.py"] + sys.argv[1:]
else:
    words = ["jupyter", os.environ.get("DOCKER_STACKS_JUPYTER_CMD", "lab")] + arguments
print("starting", *words, flush=True)
os.execvp(words[0], words)
