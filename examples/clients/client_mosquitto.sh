#!/usr/bin/env bash
# mosquitto_pub and mosquitto_sub (Debian: mosquitto-clients).
set -u
IFS=, read -r -a nodes <<<"${BANYAN_NODES:-127.0.0.1:1883,127.0.0.1:1884,127.0.0.1:1885}"
IFS=, read -r -a tls <<<"${BANYAN_TLS:-}"
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
failures=0

address() { printf -- '-h %s -p %s' "${1%:*}" "${1##*:}"; }
at() { address "${nodes[$1]}"; }
pub() { local node=$1; shift; mosquitto_pub -V "$level" $(at "$node") -q 1 "$@"; }
fail() { echo "$*" >&2; return 1; }

# sub NAME NODE ARGS: subscribes in the background, and returns when it is subscribed.
sub() {
  local name=$1 node=$2; shift 2
  : >"$work/$name" # or what a former subscriber said would count
  stdbuf -oL mosquitto_sub -V "$level" $(at "$node") -q 1 -d -F 'MSG %t %p' "$@" >>"$work/$name" 2>&1 &
  last=$!
  for _ in $(seq 150); do grep -q Subscribed "$work/$name" && return 0; sleep 0.1; done
  fail "$name is not subscribed: $(cat "$work/$name")"
}
messages() { grep '^MSG' "$work/$1" | cut -d' ' -f3; }
# wait_for NAME COUNT: the messages, once there are so many.
wait_for() {
  for _ in $(seq 150); do [ "$(messages "$1" | wc -l)" -ge "$2" ] && break; sleep 0.1; done
  messages "$1"
}
same() { [ "$1" = "$2" ] || fail "found '$1' instead of '$2'"; }
# retained NODE FILTER: what is retained, read until our own message behind it.
retained() {
  (sleep 0.3; for _ in $(seq 30); do pub "$1" -t "$top/end" -m end; sleep 0.3; done) & local ends=$!
  mosquitto_sub -V "$level" $(at "$1") -q 1 -t "$2" -t "$top/end" -W 10 -F '%t %p' | sed '/end$/q' | grep -v ' end$'
  kill "$ends" 2>/dev/null
}

connects() { for node in 0 1 2; do pub "$node" -t "$top/connect" -m x || return 1; done; }
writes_reads_clears() {
  pub 0 -r -t "$top/r" -m value && same "$(retained 1 "$top/r")" "$top/r value" &&
    pub 2 -r -t "$top/r" -n && same "$(retained 0 "$top/r")" ""
}
wildcards() {
  sub w 1 -t "$top/w/+/x" -t "$top/w/last" || return 1
  for name in 1/x 1/y 2/x x 3/x/y last; do pub 2 -t "$top/w/$name" -m "$name"; done
  same "$(wait_for w 3 | xargs)" "1/x 2/x last"
}
shared() {
  sub s0 0 -t "\$share/mosquitto$level/$top/s" && sub s1 1 -t "\$share/mosquitto$level/$top/s" || return 1
  for count in $(seq 20); do pub 2 -t "$top/s" -m "$count"; done
  for _ in $(seq 50); do [ "$( (messages s0; messages s1) | wc -l)" -ge 20 ] && break; sleep 0.1; done
  sleep 0.5
  same "$( (messages s0; messages s1) | sort -n | xargs)" "$(seq 20 | xargs)" &&
    [ -n "$(messages s0)" ] && [ -n "$(messages s1)" ]
}
resumes() {
  local expiry=(); [ "$level" = 5 ] && expiry=(-x 600)
  mosquitto_sub -V "$level" $(at 0) -q 1 -c -i "session$level" "${expiry[@]}" -t "$top/resume" -E || return 1
  for count in 1 2 3; do pub 1 -t "$top/resume" -m "$count"; done
  same "$(mosquitto_sub -V "$level" $(at 2) -q 1 -c -i "session$level" "${expiry[@]}" -t "$top/resume" -C 3 -W 15 | xargs)" "1 2 3" &&
    mosquitto_sub -V "$level" $(at 1) -q 1 -i "session$level" -t "$top/none" -E
}
wills() {
  sub will 1 -t "$top/will" || return 1
  sub mortal 0 -t "$top/none" --will-topic "$top/will" --will-payload gone --will-qos 1 || return 1
  kill -9 "$last"
  wait "$last" 2>/dev/null
  same "$(wait_for will 1)" gone
}
over_tls() {
  mosquitto_pub -V "$level" $(address "${tls[1]}") --cafile "$BANYAN_CA" -q 1 -r -t "$top/tls" -m value &&
    same "$(retained 2 "$top/tls")" "$top/tls value" && pub 0 -r -t "$top/tls" -n
}

step() {
  local text=$1 result=ok
  "$2" 2>"$work/error" || { result="FAILED: $(cat "$work/error")"; failures=$((failures + 1)); }
  kill $(jobs -p) 2>/dev/null; wait 2>/dev/null
  printf '%-9s %-5s %-60s %s\n' mosquitto "$version" "$text" "$result"
}
for version in 5 3.1.1 3.1; do
  case $version in 5) level=5 ;; 3.1.1) level=311 ;; 3.1) level=31 ;; esac
  top="clients/mosquitto/$version"
  step 'connect at every node' connects
  step 'retained: written at 1, read at 2, cleared at 3, gone at 1' writes_reads_clears
  step 'wildcards at 2, published at 3' wildcards
  step 'shared subscription at 1 and 2, published at 3' shared
  step 'session of 1, published at 2, resumed at 3' resumes
  step 'will of 1, seen at 2' wills
  step 'TLS to 2, read at 3' over_tls
  printf '%-9s %-5s %-60s %s\n' mosquitto "$version" 'WebSocket to 3, read at 1' '- this client has none'
done
exit $((failures > 0))
