#!/usr/bin/env python3
"""Starts JupyterHub's single-user server with NOTEBOOK_ARGS and the container's own arguments."""

import os
import shlex
import sys

arguments = shlex.split(os.environ.get("NOTEBOOK_ARGS", "")) + sys.argv[1:]
words = ["jupyterhub-singleuser", "--ip=0.0.0.0"] + arguments
print("starting", *words, flush=True)
os.execvp(words[0], words)
