"""The supervisor's configuration, as text."""

import configparser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from trackside.host.supervisor_config import ManagedProcess, SupervisorPlan, fingerprint, supervisor_conf


def plan(*processes: ManagedProcess) -> SupervisorPlan:
    return SupervisorPlan(
        socket=Path("/run/trackside-0a1b2c3d/supervisor.sock"),
        pid_file=Path("/run/trackside-0a1b2c3d/supervisord.pid"),
        directory=Path("/srv/100% ours"),
        logs=Path("/srv/100% ours/logs"),
        locks=Path("/run/trackside-0a1b2c3d/locks"),
        alive=Path("/srv/100% ours/alive"),
        descriptors=20_000,
        processes=processes,
    )


def test_the_configuration_reads_as_reviewed() -> None:
    processes = (
        ManagedProcess("postgres", ("/usr/bin/python3", "-m", "x", "/a b/c.json"), stop_signal="INT", stop_seconds=30),
        ManagedProcess("gateway", ("/usr/bin/python3", "-m", "trackside", "run", "gateway"), environment={"A": "50%"}),
    )
    assert supervisor_conf(plan(*processes)) == snapshot("""\
[unix_http_server]
file = /run/trackside-0a1b2c3d/supervisor.sock
chmod = 0700

[supervisord]
nodaemon = true
pidfile = /run/trackside-0a1b2c3d/supervisord.pid
directory = /srv/100%% ours
logfile = /srv/100%% ours/logs/supervisor.log
logfile_maxbytes = 1048576
logfile_backups = 2
minfds = 20000
minprocs = 200
umask = 022

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[program:postgres]
command = /usr/bin/python3 -m x '/a b/c.json'
environment = TRACKSIDE_FINGERPRINT=""
priority = 1
autostart = false
autorestart = true
startsecs = 1
startretries = 1000000
stopsignal = INT
stopwaitsecs = 30
killasgroup = true
redirect_stderr = true
stdout_logfile = NONE

[program:gateway]
command = /usr/bin/python3 -m trackside run gateway
environment = A="50%%",TRACKSIDE_FINGERPRINT=""
priority = 2
autostart = false
autorestart = true
startsecs = 1
startretries = 1000000
stopsignal = TERM
stopwaitsecs = 15
killasgroup = true
redirect_stderr = true
stdout_logfile = NONE
""")


def test_processes_stand_in_the_order_given() -> None:
    text = supervisor_conf(plan(*(ManagedProcess(name, ("/bin/true",)) for name in ("b", "a", "c"))))
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    assert [parser[f"program:{name}"]["priority"] for name in ("b", "a", "c")] == ["1", "2", "3"]


@given(st.text(), st.text())
def test_a_fingerprint_changes_with_what_it_stands_for(one: str, other: str) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
