# The profile: made at the first start, brought up to date at every other one.
if [[ $SETUP_DEFAULT_AIIDA_PROFILE == true ]] && ! verdi profile show "$AIIDA_PROFILE_NAME" >/dev/null 2>&1; then
    verdi config set warnings.rabbitmq_version false
    # A busy machine answers later than AiiDA usually waits.
    verdi config set daemon.timeout 30
    verdi quicksetup --non-interactive --profile "$AIIDA_PROFILE_NAME" --config /opt/aiida.yaml \
        --su-db-username "$NB_USER" \
        --email "$AIIDA_USER_EMAIL" --first-name "$AIIDA_USER_FIRST_NAME" --last-name "$AIIDA_USER_LAST_NAME" \
        --institution "$AIIDA_USER_INSTITUTION"
    verdi computer setup --non-interactive --label localhost --description 'this computer' --hostname localhost \
        --transport core.local --scheduler core.direct --work-dir "$HOME/aiida_run/" \
        --mpirun-command 'mpirun -np {tot_num_mpiprocs}' \
        --mpiprocs-per-machine "${LOCALHOST_MPI_PROCS_PER_MACHINE:-1}"
    verdi computer configure core.local localhost --non-interactive --safe-interval 0.0
else
    rm -f "$HOME"/.aiida/daemon/circus-*.pid
    verdi storage migrate --force
fi
