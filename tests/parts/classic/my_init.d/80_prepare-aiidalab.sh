#!/bin/bash
su -c /opt/prepare-aiidalab.sh "$SYSTEM_USER"
