"""The embedded PostgreSQL: started, found again, restarted, recovered."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from glue.embedded import Cluster, EmbeddedError

FAST = {"fsync": "off"}

pytestmark = pytest.mark.pg18  # the wheel's binaries are the same whatever server the other tests use


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "data", settings=FAST)
    yield made
    made.stop("immediate")


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def postmaster(cluster: Cluster) -> int:
    return int((cluster.data / "postmaster.pid").read_text().splitlines()[0])


def test_it_goes_from_absent_to_running_to_stopped(cluster: Cluster) -> None:
    assert cluster.status() == "absent"
    url = cluster.start()
    assert cluster.status() == "running"
    assert value(url, "show server_version_num") >= "180000"  # type: ignore[operator]
    cluster.stop()
    assert cluster.status() == "stopped"
    cluster.stop()
    with pytest.raises(EmbeddedError, match="does not run"):
        cluster.url()


def test_a_restart_keeps_data_and_address(cluster: Cluster) -> None:
    cluster.start()
    url = cluster.ensure_database("shop")
    with psycopg.connect(url) as conn:
        conn.execute("create table kept as select 42 as answer")
    cluster.stop()

    again = Cluster(cluster.folder, settings=FAST)
    again.start()

    assert again.ensure_database("shop") == url
    assert value(url, "select answer from kept") == 42


def test_a_second_start_finds_the_running_server(cluster: Cluster) -> None:
    url = cluster.start()
    pid = postmaster(cluster)

    assert Cluster(cluster.folder, settings=FAST).start() == url
    assert postmaster(cluster) == pid


def test_two_starters_at_once_get_one_server(cluster: Cluster) -> None:
    code = (
        "import sys; from pathlib import Path; from glue.embedded import Cluster; "
        "print(Cluster(Path(sys.argv[1]), settings={'fsync': 'off'}).start())"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", code, str(cluster.folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    urls = {process.communicate()[0] for process in starters}

    assert len(urls) == 1
    assert [process.returncode for process in starters] == [0, 0]


def test_the_server_survives_its_starter_and_recovers_from_a_kill(cluster: Cluster) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from glue.embedded import Cluster; "
        "Cluster(Path(sys.argv[1])).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(cluster.folder)], check=False)
    assert cluster.status() == "running"
    with psycopg.connect(cluster.url()) as conn:
        conn.execute("create table kept as select 42 as answer")
    os.kill(postmaster(cluster), signal.SIGKILL)

    url = cluster.start()

    assert value(url, "select answer from kept") == 42


def test_a_number_that_another_program_has_now_is_not_taken_for_the_server(cluster: Cluster) -> None:
    cluster.start()
    noted = (cluster.data / "postmaster.pid").read_text()
    cluster.stop()
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        (cluster.data / "postmaster.pid").write_text(f"{stranger.pid}\n" + noted.split("\n", 1)[1])

        assert cluster.status() == "stopped"
        cluster.start()

        assert cluster.status() == "running"
        stranger.kill()


def test_half_a_cluster_of_a_killed_first_start_is_thrown_away(cluster: Cluster) -> None:
    half = cluster.folder / "pg.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    cluster.start()

    assert cluster.status() == "running"
    assert not half.exists()


def test_settings_are_taken_over_at_the_next_start(tmp_path: Path) -> None:
    one = Cluster(tmp_path / "data", settings={**FAST, "work_mem": "5MB", "log_line_prefix": "it's %m "})
    url = one.start()
    assert value(url, "show work_mem") == "5MB"
    assert value(url, "show log_line_prefix") == "it's %m "
    one.stop()
    two = Cluster(tmp_path / "data", settings={**FAST, "work_mem": "6MB"})
    try:
        assert value(two.start(), "show work_mem") == "6MB"
    finally:
        two.stop("immediate")


def test_nobody_logs_in_without_the_password(cluster: Cluster) -> None:
    url = cluster.start()

    with pytest.raises(psycopg.OperationalError, match=r"password|fe_sendauth"):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{cluster.port()}/postgres")

    assert stat.S_IMODE((cluster.folder / "password").stat().st_mode) == 0o600
    assert value(url, "show listen_addresses") == "127.0.0.1"


def test_a_lost_password_is_a_clear_error(cluster: Cluster) -> None:
    cluster.start()
    cluster.stop()
    (cluster.folder / "password").unlink()

    with pytest.raises(EmbeddedError, match="password is missing"):
        cluster.start()


def test_a_taken_port_is_left_for_another_unless_it_was_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start()
    port = cluster.port()
    cluster.stop()
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()

        cluster.start()
        assert cluster.port() != port
        cluster.stop()
        with pytest.raises(EmbeddedError, match="does not start"):
            Cluster(cluster.folder, port=port, settings=FAST).start()


def test_a_setting_that_postgresql_refuses_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"does not start \(see .*postgres\.log\)"):
        Cluster(tmp_path / "data", settings={**FAST, "no_such_setting": "1"}).start()


def test_programs_that_are_not_there_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="there is no PostgreSQL"):
        Cluster(tmp_path / "data", bin_dir=tmp_path / "nowhere").start()
