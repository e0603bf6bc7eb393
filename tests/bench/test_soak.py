"""The parts of a soak by themselves: its moments, and that it would notice what it looks for."""

import random
import re
import sys
import time
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import psutil
import pytest
import yaml

from bench import soak, verdict, victims
from bench.bucket import Entry
from bench.soak import Hit, draw
from bench.victims import Command, Program
from jobs.store import Store
from orchestrator import grid

ENDS = [10.0, 40.0, 41.0, 50.0]
NAME = "a" * 16


def test_kills_are_spread_over_the_sweeps_course_and_a_seed_repeats_them():
    kills = draw(random.Random(3), 2000, 0.0, ENDS)
    assert kills == draw(random.Random(3), 2000, 0.0, ENDS)
    assert kills != draw(random.Random(4), 2000, 0.0, ENDS)
    shares = Counter(kill.results for kill in kills)
    assert [shares[number] / 2000 for number in range(4)] == pytest.approx(
        [0.2, 0.6, 0.02, 0.18], abs=0.03
    )
    assert max(kill.later for kill in kills if kill.results == 1) == pytest.approx(30, abs=1)
    assert min(Counter(kill.victim for kill in kills).values()) > 2000 / len(soak.VICTIMS) - 100
    assert max(kill.pause for kill in kills) == pytest.approx(soak.AWAY, abs=0.1)


def test_a_kill_is_due_where_the_sweep_has_come_as_far():
    (kill,) = (one for one in draw(random.Random(0), 1, 10.0, [20.0, 30.0]))
    assert kill.due(kill.results, kill.later)
    assert not kill.due(kill.results, kill.later - 0.1)
    assert kill.due(kill.results + 1, 0.0)
    assert not kill.due(kill.results - 1, 99.0)


def test_the_grid_has_as_many_trials_as_one_wants(tmp_path):
    file = soak.write_grid(tmp_path, 60)
    assert len(grid.specs(grid.load(str(file)))) == 60
    assert yaml.safe_load(file.read_text())["name"] == soak.NAME


def put(when: float, path: str) -> Entry:
    environ = {"REQUEST_METHOD": "PUT", "PATH_INFO": f"/soak/sweep/{path}"}
    return Entry(when, environ, "", 0)


def test_what_is_done_twice_is_noticed(tmp_path):
    log = tmp_path / "worker-1.out"

    def begun(*moments: float) -> None:
        lines = [datetime.fromtimestamp(when, UTC).isoformat() for when in moments]
        log.write_text("".join(f"{when} students/{NAME} begins\n" for when in lines))

    entries = [
        put(5, f"features/{NAME}/1.safetensors"),
        put(6, f"features/{NAME}/record.json"),
        put(7, f"students/{NAME}/2.safetensors"),
        put(8, f"students/{NAME}/record.json"),
    ]
    begun(6.5, 7.5)  # twice, but the first one was killed
    assert verdict.twice(entries, [log]) == []
    assert verdict.published(entries) == {("features", NAME): 6, ("students", NAME): 8}
    begun(6.5, 8.5)
    (line,) = verdict.twice(entries, [log])
    assert line.startswith(f"students/{NAME} was begun again at 1970-01-01T00:00:08.5")
    again = [*entries, put(9, f"features/{NAME}/3.safetensors")]
    assert verdict.twice(again, []) == [f"features/{NAME}/3.safetensors was written again"]
    taught = [put(when, f"checkpoints/{NAME}/record.json") for when in (1, 2, 3, 5)]
    taught.insert(3, put(4, f"soft-labels/{NAME}/record.json"))
    assert verdict.twice(taught[:4], []) == []
    assert verdict.twice(taught, []) == [f"checkpoints/{NAME}/record.json was written again"]
    assert verdict.published(taught) == {("soft-labels", NAME): 4}


def test_what_is_another_or_lost_is_noticed(tmp_path):
    stores = []
    for folder, values in (("a", [1.0, 2.0]), ("b", [1.0, np.nextafter(2.0, 3.0)])):
        stores.append(Store(str(tmp_path / folder)))
        for name in (NAME, "b" * 16)[: 2 if folder == "a" else 1]:
            stores[-1].publish(
                "students",
                name,
                tensors={"parameters": np.array(values)},
                spec={},
                made_from={},
                summary={"metrics": {"val.accuracy": [0.5]}},
                seconds=time.time(),
            )
    expected, found = map(verdict.results, stores)
    assert verdict.apart("result", expected, expected) == []
    assert verdict.apart("result", found, expected) == [
        f"result students/{NAME} is another than undisturbed"
    ]
    assert verdict.lacking("result", found, expected) == [
        f"result students/{'b' * 16} is not there"
    ]
    assert verdict.apart("result", expected, found)[1] == (
        f"result students/{'b' * 16} should not be there"
    )


def test_a_table_is_compared_without_its_times():
    head = "2 trials of grid soak on moods, by validation accuracy\n"
    rows = " 1 ★        2  0.005  0.6083 ± 0.1059 {}\n logistic regression  385  0.6500  0.6667\n"
    first, second = (verdict.table(head + rows.format(time)) for time in ("  0.06", "  0.17"))
    assert first == second
    assert len(first) == 2
    assert first != verdict.table(head + rows.replace("0.6083", "0.6084").format("  0.06"))


def test_a_driver_is_killed_alone_and_a_server_with_all_below_it(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "time.sleep(600)\n"
    )
    for make, expected in ((Command, 1), (Program, 0)):
        program = make("it", [sys.executable, "-c", code], {}, tmp_path / "log")
        program.start()
        program.wait()
        while len(processes := program.processes()) < 2:
            time.sleep(0.05)
        assert program.kill(random.Random(0)) == "it"
        _, alive = psutil.wait_procs(processes, timeout=1)
        alive = [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
        assert len(alive) == expected
        victims.kill(alive)
        assert not program.up()


def test_hits_of_one_victim_are_told_together(capsys):
    hits = [Hit("driver", "driver", 3.0, 1), Hit("driver", "driver", 9.0, 2)]
    course = soak.Course(hits, {"driver": [2.0, 4.0]}, 3, Counter({"why": 1}), 60.0, "")
    soak.show(course, verdict.Verdict([], [], []))
    told = capsys.readouterr().out
    assert re.search(r"│ driver +│ +2 │ +3 │ +9 │ +3.0 │ +4.0 │", told)
    assert "gave up 1 times: why" in told


class Sleepers:
    """A ground on which nothing stands: programs that answer and do nothing."""

    def __init__(self, folder) -> None:
        self.journal, self.nodes = folder / "journal", []
        self.journal.touch()
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        self.programs = {
            name: Sleeper(name, sleep, {}, folder / name)
            for name in (*soak.NODES, "MLflow's server", "PostgreSQL", "S3 server")
        }

    def ready(self, name: str) -> bool:
        return True


class Sleeper(Program):
    def kill(self, moment: random.Random) -> str:
        return f"raylet of node {super().kill(moment)}"


DRIVER = """
import json, pathlib, sys, time
journal = pathlib.Path(sys.argv[1])
while (count := journal.read_text().count("record")) < 12:
    time.sleep(0.3)
    path = f"/soak/sweep/students/{count:016x}/record.json"
    entry = [time.time(), {"REQUEST_METHOD": "PUT", "PATH_INFO": path}, "", 0]
    with journal.open("a") as file:
        file.write(json.dumps(entry) + "\\n")
    if count == 5 and not pathlib.Path(sys.argv[2]).exists():
        pathlib.Path(sys.argv[2]).touch()
        print("a line\\nerror: something is gone; run the same command again", file=sys.stderr)
        sys.exit(1)
print("the table")
"""


def test_every_kill_is_made_and_everything_comes_back(tmp_path, monkeypatch):
    """On a driver that goes on from what is there, and gives up once by itself."""
    monkeypatch.setattr(soak, "AWAY", 0.2)
    stands = Sleepers(tmp_path)
    words = [sys.executable, "-c", DRIVER, str(stands.journal), str(tmp_path / "gave up")]
    driver = Command("driver", words, {}, tmp_path / "driver.txt")
    kills = [
        one
        for one in draw(random.Random(1), 40, 0.0, [float(when) for when in range(13)])
        if one.victim != "worker"
    ]
    course = soak.Soak(stands, driver, kills, random.Random(1)).run()
    made = Counter(hit.victim for hit in course.hits)
    assert made == Counter(one.victim for one in kills)
    assert course.output == "the table\n"
    assert course.gave_up == {"something is gone; run the same command again": 1}
    assert course.starts >= 1 + made["driver"] + 1
    for victim, seconds in course.away.items():
        # The last ones may not be back when all is done.
        assert made[victim] - 2 <= len(seconds) <= made[victim]
        assert max(seconds) < 30
    for program in stands.programs.values():
        program.end()


def test_why_a_command_ended_is_told_in_a_line():
    assert soak.reason("phase\nerror: first\nsecond\nthird") == "first second"
    assert "trials had failed" in soak.reason("the table\nall of it took 3 s")
    assert soak.reason("Traceback …\n  File …\nKeyError: 3\n") == "a traceback: KeyError: 3"
