# What a new home has.
for file in .bashrc .profile; do [[ -e $HOME/$file ]] || cp "/etc/skel/$file" "$HOME/"; done
mkdir -p -m 700 "$HOME/.ssh"
touch "$HOME/.ssh/known_hosts"
[[ -e $HOME/.ssh/id_rsa ]] || ssh-keygen -q -t rsa -b 4096 -m PEM -N '' -f "$HOME/.ssh/id_rsa"
eval "$(ssh-agent)"
