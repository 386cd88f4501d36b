# The user's database, with a log of its own for each start.
(
    PATH=/opt/conda/envs/aiida-core-services/bin:$PATH
    log=$PGDATA/logfile
    if [[ -d $PGDATA ]]; then
        chmod -R g-rwxs "$PGDATA"
        if [[ -e $log ]]; then
            mv "$log" "$log.1"
            gzip -f "$log.1"
        fi
        # Of a server that was not stopped in order.
        rm -f "$PGDATA/postmaster.pid"
    else
        initdb >/dev/null
        echo "unix_socket_directories = '/tmp'" >>"$PGDATA/postgresql.conf"
    fi
    pg_ctl --timeout=180 -w -l "$log" start
)
