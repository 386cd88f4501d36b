#!/bin/bash
# The user's database, with a new log for each start.
PATH=/opt/conda/envs/pgsql/bin:$PATH
data=/home/$SYSTEM_USER/.postgresql
if [[ -d $data ]]; then
    chmod -R g-rwxs "$data"
    if pg_ctl -D "$data" status; then exit; fi
    echo >"$data/logfile"
    # Of a server that was not stopped in order.
    rm -f "$data/postmaster.pid"
else
    mkdir "$data"
    initdb -D "$data" >/dev/null
    echo "unix_socket_directories = '/tmp'" >>"$data/postgresql.conf"
fi
pg_ctl --timeout=180 -w -D "$data" -l "$data/logfile" start
