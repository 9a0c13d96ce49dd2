#!/bin/sh
# Makes an authority, certificates for a worker and a device, and a token, to try TLS with:
#   deploy/make-test-certificates.sh FOLDER [HOST...]
# The worker's certificate is for this machine and for every HOST (a name or an IPv4 address). Everything lasts 30 days;
# an authority and tokens that are there already are kept, so running it again renews the certificates.
set -eu
umask 077

[ $# -ge 1 ] || { echo "usage: $0 FOLDER [HOST...]" >&2; exit 2; }
folder=$1
shift
mkdir -p "$folder"
cd "$folder"

names="DNS:localhost,IP:127.0.0.1"
for host in "$@"; do
  case $host in
    *[!0-9.]*) names="$names,DNS:$host" ;;
    *) names="$names,IP:$host" ;;
  esac
done

if [ ! -e ca.key.pem ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=cleft test authority" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" \
    -keyout ca.key.pem -out ca.pem 2>/dev/null
fi

issue() { # NAME USAGE ALTERNATIVE-NAMES
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
    -keyout "$1.key.pem.new" -out "$1.request.pem" 2>/dev/null
  printf 'subjectAltName=%s\nextendedKeyUsage=%s\nbasicConstraints=CA:FALSE\n' "$3" "$2" >"$1.extensions"
  openssl x509 -req -in "$1.request.pem" -CA ca.pem -CAkey ca.key.pem -set_serial "0x$(openssl rand -hex 16)" \
    -days 30 -extfile "$1.extensions" -out "$1.cert.pem.new" 2>/dev/null
  rm "$1.request.pem" "$1.extensions"
  mv "$1.key.pem.new" "$1.key.pem"
  mv "$1.cert.pem.new" "$1.cert.pem"
}

issue worker serverAuth "$names"
issue device clientAuth "DNS:device"
[ -e token ] || openssl rand -hex 32 >token
[ -e tokens ] || { echo "# One token a line; every one is taken."; cat token; } >tokens

echo "worker:  cleft-cloud serve --tls-cert $folder/worker.cert.pem --tls-key $folder/worker.key.pem --token-file $folder/tokens"
echo "device:  cleft-edge run --tls-ca $folder/ca.pem --token-file $folder/token"
echo "mutual:  --tls-client-ca $folder/ca.pem there, --tls-cert $folder/device.cert.pem --tls-key $folder/device.key.pem here"
