"""pip install . into a clean environment: the command works away from the checkout, SQL files included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.py.deploy.tools import DB, REPOSITORY, run, yoyo

# Once is enough: nothing here depends on the server's version.
pytestmark = pytest.mark.pg18

Installed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(REPOSITORY),
    )
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with that wheel and what it asks for, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    run(sys.executable, "-m", "venv", str(folder))
    run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel))
    return folder


@pytest.fixture
def pgbooking(environment: Path, tmp_path: Path, empty_db_url: str) -> Installed:
    """pgbooking(*arguments) in an empty folder, on an empty database."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(environment / "bin" / "pgbooking"), *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": empty_db_url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_the_wheel_has_every_sql_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {
            name.removeprefix("glue/_db/") for name in archive.namelist() if name.startswith("glue/_db/")
        }
        everything = archive.namelist()

    wanted = {path.relative_to(DB).as_posix() for path in DB.rglob("*") if path.is_file()}
    assert {name for name in wanted if "__pycache__" not in name} == shipped
    assert {"cli.py", "glue/py.typed", "glue/sandbox/shapes.json"} <= set(everything)
    assert not [name for name in everything if name.startswith("tests")]


def test_it_migrates_checks_and_reports_from_an_empty_folder(pgbooking: Installed, tmp_path: Path) -> None:
    migrate = pgbooking("migrate")
    check = pgbooking("check")
    stats = pgbooking("stats", "--json")
    doctor = pgbooking("doctor", "--json")
    version = pgbooking("--version")

    assert migrate.returncode == 0, migrate.stderr
    assert (check.returncode, check.stdout) == (0, "database and files agree\n")
    assert json.loads(stats.stdout)["total_bookings"] == 0
    # logins belong to the server, which other tests use at the same time
    assert [item for item in json.loads(doctor.stdout) if item["check"] != "setting"] == []
    assert version.stdout.startswith("pgbooking, version 0.1.0")
    assert list(tmp_path.iterdir()) == []


def test_it_agrees_with_the_checkout(pgbooking: Installed, empty_db_url: str) -> None:
    pgbooking("migrate")

    yoyo("apply", empty_db_url)

    assert pgbooking("check").returncode == 0


def test_serve_says_what_it_misses(pgbooking: Installed) -> None:
    answer = pgbooking("serve", "--port", "0")

    assert answer.returncode == 2
    assert "STRIPE_SECRET_KEY" in answer.stderr


def test_it_has_an_openapi_page_that_needs_no_network(environment: Path) -> None:
    code = (
        "import flask_openapi3_swagger, pathlib; p = pathlib.Path(flask_openapi3_swagger.__file__).parent; "
        "print(len(list(p.rglob('swagger-ui-bundle.js'))))"
    )

    assert run(str(environment / "bin" / "python"), "-c", code).stdout == "1\n"


def test_the_command_of_a_checkout_runs_the_checkouts_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import cli, glue; print(cli.__file__); print(glue.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == [str(REPOSITORY / "cli.py"), str(REPOSITORY / "glue" / "__init__.py")]
