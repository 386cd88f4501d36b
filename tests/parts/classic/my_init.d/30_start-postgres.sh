#!/bin/bash
su -c /opt/start-postgres.sh "$SYSTEM_USER"
