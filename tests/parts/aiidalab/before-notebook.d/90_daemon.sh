# What runs the user's workflows.
verdi daemon start || echo 'error: the daemon of AiiDA does not run'
