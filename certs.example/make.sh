#!/bin/sh
# Makes an authority and a certificate for trying hubgate out:
#
#     certs.example/make.sh [NAME…]
#
# NAMEs are DNS names or addresses; by default localhost, hub.localhost, 127.0.0.1 and ::1.
# The authority can vouch for these names only, and its key is gone when the script ends: whoever trusts ca.pem
# trusts this one certificate.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ $# -gt 0 ] || set -- localhost hub.localhost 127.0.0.1 ::1
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

alternatives='' permitted=''
for name; do
    case $name in
        *:*) kind=IP range=$name/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ;;
        *[!0-9.]*) kind=DNS range=${name#\*.} ;;
        *) kind=IP range=$name/255.255.255.255 ;;
    esac
    alternatives="$alternatives,$kind:$name"
    permitted="$permitted,permitted;$kind:$range"
done

cat >"$work/ca.cnf" <<END
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
CN = hubgate development authority
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
nameConstraints = critical$permitted
END
cat >"$work/leaf.cnf" <<END
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = ${alternatives#,}
END

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
key "$work/ca.key"
openssl req -x509 -new -config "$work/ca.cnf" -key "$work/ca.key" -days 397 -out "$work/ca.pem"
key "$work/key.pem"
openssl req -new -key "$work/key.pem" -subj "/CN=$1" -out "$work/leaf.csr"
openssl x509 -req -in "$work/leaf.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial \
    -days 397 -extfile "$work/leaf.cnf" -out "$work/leaf.pem" 2>/dev/null
openssl verify -CAfile "$work/ca.pem" "$work/leaf.pem" >/dev/null

cat "$work/leaf.pem" "$work/ca.pem" >"$work/fullchain.pem"
chmod 644 "$work/fullchain.pem" "$work/ca.pem"
# The key first, and each whole: a reload between them finds a pair that does not match, and keeps the old one.
for file in key.pem fullchain.pem ca.pem; do
    mv "$work/$file" "$here/$file"
done
printf 'chain = "%s/fullchain.pem"\nkey = "%s/key.pem"\n' "$here" "$here"
