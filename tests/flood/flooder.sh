#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage (in a guest of its own): tests/flood/flooder.sh SERVER-SECRET SEED
#
# Answers the server's beats (tests/hostile/src/flood.rs) with initiations, from
# addresses that lead back here and to nobody, until the server says it's over.
set -euo pipefail
modprobe virtio_net
ip addr add 10.1.0.2/24 dev eth0
ip link set eth0 up
exec /hostile flood serve --port 7000 --target 10.1.0.1 --target-secret "$1" --seed "$2"
