"""Keep `db/sqitch` in step with the migrations and functions: wrappers that include the very same files.

    python -m glue.sqitch            writes what is missing or out of date
    python -m glue.sqitch --check    exit code 1 and the names when anything would change

Every migration is a change of its own name. The functions of a release are one change,
`functions-<version>`; only the newest of them loads the files, because the files are the newest too.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from glue import __version__
from glue.deploy import sql_root
from glue.sqlfiles import function_files

_CONF = """[core]
	engine = pg
[engine "pg"]
	client = psql
"""
_PRAGMAS = """%syntax-version=1.0.0
%project=pgbooking
"""
_PLANNER = "pgbooking <pgbooking@localhost>"


def generate(root: Path, version: str, now: datetime) -> dict[str, str]:
    """Every file below db/sqitch, by its path there. Changes in the plan keep their place and date."""
    names = sorted(
        path.stem for path in (root / "migrations").glob("*.sql") if not path.name.endswith(".rollback.sql")
    )
    newest = f"functions-{version}"
    plan = _plan(root / "sqitch" / "sqitch.plan", names, newest, now)
    files = {"sqitch.conf": _CONF, "sqitch.plan": _PRAGMAS + "\n" + "\n".join(plan) + "\n"}
    for name in names:
        files |= _migration(root, name)
    for line in plan:
        name = line.split(" ", 1)[0]
        if name.startswith("functions-"):
            files |= _functions(root, name, newest)
    return files


def _plan(path: Path, names: list[str], newest: str, now: datetime) -> list[str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    old = [line for line in text.splitlines() if line and not line.startswith("%")]
    dates = {
        line.split(" ", 1)[0]: match[0]
        for line in old
        if (match := re.search(r"\d{4}-\d\d-\d\dT[\d:]+Z", line))
    }
    released = [line.split(" ", 1)[0] for line in old]
    order = [name for name in released if name != newest]
    order += [name for name in names if name not in order]
    order.append(newest)
    today = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    lines: list[str] = []
    for number, name in enumerate(order):
        requires = f" [{order[number - 1]}]" if number else ""
        note = f"every function of {name.removeprefix('functions-')}" if "functions-" in name else _note(name)
        lines.append(f"{name}{requires} {dates.get(name, today)} {_PLANNER} # {note}")
    return lines


def _note(name: str) -> str:
    return name.split(".", 1)[-1].replace("_", " ")


def _migration(root: Path, name: str) -> dict[str, str]:
    text = (root / "migrations" / f"{name}.sql").read_text(encoding="utf-8")
    plain = re.search(r"^--\s*transactional:\s*false", text, re.M | re.I) is not None
    made = re.findall(r"^create\s+(schema|table|type)\s+(?:if not exists\s+)?([\w.]+)", text, re.M | re.I)
    checks = {"schema": "regnamespace", "table": "regclass", "type": "regtype"}
    proofs = "".join(f"select '{what}'::{checks[kind.lower()]};\n" for kind, what in made)
    return {
        f"deploy/{name}.sql": f"-- Deploy pgbooking:{name} to pg\n"
        + _wrap(f"\\ir ../../migrations/{name}.sql", plain),
        f"revert/{name}.sql": f"-- Revert pgbooking:{name} from pg\n"
        + _wrap(f"\\ir ../../migrations/{name}.rollback.sql", plain),
        f"verify/{name}.sql": f"-- Verify pgbooking:{name} on pg\nBEGIN;\n{proofs}ROLLBACK;\n",
    }


def _wrap(body: str, plain: bool) -> str:
    return f"{body}\n" if plain else f"BEGIN;\n{body}\nCOMMIT;\n"


def _functions(root: Path, name: str, newest: str) -> dict[str, str]:
    heads = {kind: f"-- {kind} pgbooking:{name} {place} pg\n" for kind, place in _PLACES.items()}
    if name != newest:
        empty = f"-- Nothing to do: {newest} has every function.\nselect 1;\n"
        return {f"{kind.lower()}/{name}.sql": head + empty for kind, head in heads.items()}
    files = function_files(root)
    include = "\n".join(f"\\ir ../../functions/{file.name}" for file in files)
    array = ",\n    ".join(f"'{file.function}'" for file in files)
    return {
        f"deploy/{name}.sql": f"{heads['Deploy']}BEGIN;\nset local role booking_owner;\n"
        f"set local check_function_bodies = off;\n{include}\nCOMMIT;\n",
        f"revert/{name}.sql": heads["Revert"]
        + "BEGIN;\nset local role booking_owner;\n"
        + _drop(array)
        + "COMMIT;\n",
        f"verify/{name}.sql": heads["Verify"] + "BEGIN;\n" + _prove(array) + "ROLLBACK;\n",
    }


_PLACES: Mapping[str, str] = {"Deploy": "to", "Revert": "from", "Verify": "on"}


def _drop(array: str) -> str:
    return f"""-- Triggers go with their functions.
do $revert$
declare
  v_routine text;
begin
  for v_routine in
    select p.oid::regprocedure::text
    from pg_catalog.pg_proc p
    where p.pronamespace = 'booking'::regnamespace and p.proname = any (array[
    {array}
    ])
  loop
    execute pg_catalog.format('drop routine if exists %s cascade', v_routine);
  end loop;
end
$revert$;
"""


def _prove(array: str) -> str:
    return f"""do $verify$
declare
  v_missing text;
begin
  select pg_catalog.string_agg(wanted.name, ', ') into v_missing
  from pg_catalog.unnest(array[
    {array}
  ]) as wanted(name)
  where not exists (
    select from pg_catalog.pg_proc p
    where p.pronamespace = 'booking'::regnamespace and p.proname = wanted.name
  );
  if v_missing is not null then
    raise exception 'missing in schema booking: %', v_missing;
  end if;
end
$verify$;
"""


def main(arguments: list[str] | None = None) -> int:
    """Write db/sqitch of this checkout, or only say what would change."""
    parser = argparse.ArgumentParser(prog="python -m glue.sqitch", description="Keep db/sqitch in step.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit code 1 when something would change"
    )
    options = parser.parse_args(arguments)
    root = sql_root()
    folder = root / "sqitch"
    wanted = generate(root, __version__, datetime.now(UTC))
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    changed = [
        name
        for name, text in wanted.items()
        if name not in present or present[name].read_text(encoding="utf-8") != text
    ]
    gone = [name for name in present if name not in wanted]
    for name in sorted(changed + gone):
        sys.stdout.write(f"{name}\n")
    if options.check:
        return 1 if changed or gone else 0
    for name in changed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(wanted[name], encoding="utf-8")
    for name in gone:
        present[name].unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
