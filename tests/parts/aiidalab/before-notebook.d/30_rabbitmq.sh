# The user's message broker.
(
    PATH=/opt/conda/envs/aiida-core-services/bin:$PATH
    mkdir -p "$HOME/.rabbitmq/log"
    if [[ -e $HOME/.erlang.cookie ]]; then chmod 400 "$HOME/.erlang.cookie"; fi
    rabbitmq-server -detached
    # It cannot be asked before it has a name.
    timeout 120 sh -c 'until rabbitmqctl --quiet await_startup 2>/dev/null; do sleep 0.5; done'
)
