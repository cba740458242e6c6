#!/usr/bin/env bash
# Clients of others against three nodes. See README.md.
#
#     ./run.sh [paho|aiomqtt|gmqtt|mqttjs|mosquitto|libpaho]...
#
# BANYAN: the program, if it is built already. PORT: the first of twelve ports. WORK: where packages and data go.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
root=$(cd ../.. && pwd)
work=${WORK:-$root/target/clients}
port=${PORT:-28000}
clients=("$@")
[ $# -gt 0 ] || clients=(paho aiomqtt gmqtt mqttjs mosquitto libpaho)
mkdir -p "$work"

if [ -z "${BANYAN:-}" ]; then
  cargo build --release --manifest-path "$root/Cargo.toml" -p banyan-node
  BANYAN=${CARGO_TARGET_DIR:-$root/target}/release/banyan
fi

# An authority and one certificate for all nodes.
if [ ! -e "$work/server.crt" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=example' \
    -addext 'keyUsage=critical,keyCertSign' -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' \
    -keyout "$work/server.key" -out "$work/server.csr" 2>/dev/null
  openssl x509 -req -in "$work/server.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 30 \
    -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n') \
    -out "$work/server.crt" 2>/dev/null
  chmod 600 "$work/server.key"
fi

# What the clients need, once.
for client in "${clients[@]}"; do
  case $client in
    paho | aiomqtt | gmqtt)
      if [ ! -x "$work/venv/bin/python" ]; then
        python3 -m venv "$work/venv"
        "$work/venv/bin/pip" -q install -r requirements.txt
      fi ;;
    mqttjs)
      if [ ! -d "$work/js/node_modules/mqtt" ]; then
        mkdir -p "$work/js"
        cp package.json "$work/js"
        npm --prefix "$work/js" install --no-audit --no-fund --silent
      fi
      cp client_mqttjs.mjs "$work/js" ;;
    mosquitto) command -v mosquitto_sub >/dev/null || { echo 'install the Debian package mosquitto-clients'; exit 2; } ;;
    libpaho)
      cc -O1 -Wall -o "$work/libpaho" client_libpaho.c -lpaho-mqtt3cs ||
        { echo 'install the Debian package libpaho-mqtt-dev'; exit 2; } ;;
    *) echo "there is no client $client"; exit 2 ;;
  esac
done

# Three nodes.
rm -rf "$work"/node[123]
pids=()
stop() { kill "${pids[@]}" 2>/dev/null && wait "${pids[@]}" 2>/dev/null || true; }
trap stop EXIT
list() { echo "$1:$((port + $2)),$1:$((port + $2 + 1)),$1:$((port + $2 + 2))"; }
members=$(for i in 1 2 3; do printf '"%s@127.0.0.1:%s", ' $i $((port + 8 + i)); done)
for i in 1 2 3; do
  cat >"$work/node$i.toml" <<END
data_dir = "$work/node$i"
node_id = $i
mqtt = ["127.0.0.1:$((port + i - 1))"]
http = ["127.0.0.1:$((port + 2 + i))"]
mqtts = ["127.0.0.1:$((port + 5 + i))"]
peer = "127.0.0.1:$((port + 8 + i))"
tls_certificate = "$work/server.crt"
tls_key = "$work/server.key"
bootstrap = true
members = [${members%, }]
END
  "$BANYAN" --config "$work/node$i.toml" 2>"$work/node$i.log" &
  pids+=($!)
done
for i in 1 2 3; do
  for try in $(seq 300); do
    curl -fs -o /dev/null "http://127.0.0.1:$((port + 2 + i))/health/ready" && break
    [ "$try" -lt 300 ] || { echo "node $i is not ready:"; tail "$work/node$i.log"; exit 1; }
    sleep 0.1
  done
done

export BANYAN_NODES BANYAN_WS BANYAN_TLS BANYAN_CA=$work/ca.crt
BANYAN_NODES=$(list 127.0.0.1 0)
BANYAN_WS=$(list 127.0.0.1 3)
BANYAN_TLS=$(list localhost 6)
failed=()
for client in "${clients[@]}"; do
  case $client in
    mqttjs) run=(node "$work/js/client_mqttjs.mjs") ;;
    mosquitto) run=(bash "$here/client_mosquitto.sh") ;;
    libpaho) run=("$work/libpaho") ;;
    *) run=("$work/venv/bin/python" "$here/client_$client.py") ;;
  esac
  "${run[@]}" || failed+=("$client")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo 'all steps of all clients: ok'
