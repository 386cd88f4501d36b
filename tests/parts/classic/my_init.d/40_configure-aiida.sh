#!/bin/bash
su -c /opt/configure-aiida.sh "$SYSTEM_USER"
