#!/bin/bash
# The broker is root's, and its data are in the user's home.
su -c /opt/start-rabbitmq.sh root
