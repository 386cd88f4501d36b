#!/bin/bash
set -e
PATH=/opt/conda/envs/rmq/bin:$PATH
data=/home/$SYSTEM_USER/.rabbitmq
mkdir -p "$data"
# The container's name is another one each time; data is found again under this.
printf '%s\n' "MNESIA_BASE=$data" "LOG_BASE=$data/log" NODENAME=rabbit@localhost >>/etc/rabbitmq/rabbitmq-env.conf
rabbitmq-server -detached
