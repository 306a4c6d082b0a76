#!/bin/sh
# Runs a command in a network of its own, in which ringcached serves the ports and the socket that the test suites of
# clients take for granted. To be called inside of `unshare --net --pid --fork`, so that the servers end with the command.
#
# Arguments: an empty directory, the server's program, and the command. `memcached` is the server in it, too.
set -eu
directory=$1
server=$2
shift 2

ip link set lo up
ln -s "$server" "$directory/memcached"
export PATH="$directory:$PATH"
MEMCACHED_PORT_FILENAME="$directory/ports" memcached -t 2 -l '127.0.0.1:11211,[::1]:11211,127.0.0.1:5000' &
memcached -t 2 -s /tmp/memcached.sock &
until [ -s "$directory/ports" ] && [ -S /tmp/memcached.sock ]; do sleep 0.02; done
exec "$@"
