#!/bin/bash
# AiiDA's profile, made at the first start; its database, brought up to date; its daemon.
if [[ $SETUP_DEFAULT_PROFILE == true ]] && ! verdi profile show "$PROFILE_NAME" >/dev/null 2>&1; then
    verdi config set warnings.rabbitmq_version false
    # A busy machine answers later than AiiDA usually waits.
    verdi config set daemon.timeout 30
    verdi quicksetup --non-interactive --profile "$PROFILE_NAME" --config /opt/aiida.yaml \
        --su-db-username "$SYSTEM_USER" --email "$USER_EMAIL" --first-name "$USER_FIRST_NAME" \
        --last-name "$USER_LAST_NAME" --institution "$USER_INSTITUTION"
    verdi computer setup --non-interactive --label localhost --description 'this computer' --hostname localhost \
        --transport core.local --scheduler core.direct --work-dir "/home/$SYSTEM_USER/aiida_run/" \
        --mpirun-command 'mpirun -np {tot_num_mpiprocs}' \
        --mpiprocs-per-machine "${LOCALHOST_MPI_PROCS_PER_MACHINE:-1}"
    verdi computer configure core.local localhost --non-interactive --safe-interval 0.0
fi
verdi daemon stop
verdi storage migrate --force || echo 'error: the database was not brought up to date'
verdi daemon start || echo 'error: the daemon of AiiDA does not run'
