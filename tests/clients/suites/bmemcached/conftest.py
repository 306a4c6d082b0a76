"""The fixtures that the suite of python-binary-memcached asks for and its source distribution lacks."""

import os
import socket
import subprocess
import time

import pytest

# The server that runs already listens there, too.
IPV6_PORT = 11211
SASL_PORT = 5002
# Written in the suite.
TLS_PORT = 5001
WAIT_SECONDS = 20


def wait_for(port):
    """Returns when a server accepts on `port`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(0.01)


@pytest.fixture(autouse=True)
def tls_server_listens(request):
    """The suite gives its server for TLS a tenth of a second to start, which a busy machine may not keep."""
    if request.module.__name__ == "test_tls":
        wait_for(TLS_PORT)


@pytest.fixture
def memcached_ipv6():
    """The server on `::1`, which runs for the whole suite."""


@pytest.fixture(scope="session")
def memcached_sasl(tmp_path_factory):
    """Port, user and password of a server with `-S`."""
    users = tmp_path_factory.mktemp("sasl") / "users"
    users.write_text("ann:secret\n")
    environment = {**os.environ, "MEMCACHED_SASL_PWDB": str(users)}
    server = subprocess.Popen(["memcached", "-S", "-p", str(SASL_PORT)], env=environment)
    wait_for(SASL_PORT)
    yield SASL_PORT, "ann", "secret"
    server.kill()
    server.wait()
