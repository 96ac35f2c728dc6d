"""A PostgreSQL server of its own on loopback, where one is installed."""

import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

import pytest

_ACCOUNT = "postgres"  # whom the server runs as: it refuses to be root


@pytest.fixture(scope="session")
def postgresql():
    """The URL of an empty database."""
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    as_account = []
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_ACCOUNT)
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no account 'postgres'")
        program = shutil.which("runuser") or shutil.which("runuser", path="/usr/sbin:/sbin")
        if program is None:
            pytest.skip("PostgreSQL does not run as root, and there is no program runuser")
        as_account = [program, "-u", _ACCOUNT, "--"]
    # not below pytest's own folder, which no other account may enter
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postgres-"))
    if as_account:
        shutil.chown(folder, _ACCOUNT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    control = [*as_account, str(programs[-1] / "pg_ctl"), "-D", str(folder / "data"), "-w", "-s"]
    run(*as_account, programs[-1] / "initdb", "-D", folder / "data", "-A", "trust", "-U", "tester")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(*control, "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def run(*command):
    # an inherited pipe would stay open for as long as the server runs
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")
