"""Addresses of schedulers, and what `msff study status` reads about a cluster."""

import json

import pytest
from tiny_study import again, tiny_study

from msff.study.cluster.state import ClusterError, State, read_state, scheduler_address
from msff.study.profiles import RHD, Block, RootDepthSpec
from msff.study.status import summary, trainings

MSFF, INTERNET = "standin-rhd/msff/full/seed0", "standin-rhd/internet/full/seed0"
WORKERS = {"tcp://127.0.0.1:1": {"device": "cuda", "hardware": "a GPU", "threads": 1}}


@pytest.fixture
def study(tmp_path):
    grid = (Block(("msff", "internet"), layouts=RHD),)
    return again(tiny_study(tmp_path), grid=grid, root_depth=RootDepthSpec("box"))


@pytest.mark.parametrize(
    "text", ["tcp://127.0.0.1:8786", "127.0.0.1:8786", "localhost:1", "tls://node7:8786", "[::1]:1"]
)
def test_this_machine_and_tls_are_accepted(text):
    assert scheduler_address(text).endswith(text)


@pytest.mark.parametrize("text", ["tcp://node7:8786", "10.0.0.5:8786", "tcp://127.0.0.1.example.org:8786"])
def test_tcp_beyond_this_machine_needs_a_trusted_network(text):
    with pytest.raises(ClusterError, match="--trusted-network"):
        scheduler_address(text)
    assert scheduler_address(text, trusted_network=True).endswith(text)


def test_a_schedulers_file_gives_its_address_and_any_other_is_refused(tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": "tls://node7:8786"}))
    assert scheduler_address(str(path)) == "tls://node7:8786"
    path.write_text(json.dumps({"address": "tcp://node7:8786"}))
    with pytest.raises(ClusterError, match="no authentication"):
        scheduler_address(str(path))
    for content in (b"{}", b"[1]", b"", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(ClusterError, match="scheduler.json: expected the file"):
            scheduler_address(str(path))


@pytest.mark.parametrize(
    "text", ["", "tcp://", "127.0.0.1", "localhost:abc", "127.0.0.1:99999", "http://node7:80", "tls://a b:1", "node7:0"]
)
def test_what_is_no_address_is_refused_with_what_was_expected(text, tmp_path):
    with pytest.raises(ClusterError, match="expected the address of a Dask scheduler, tcp://HOST:PORT"):
        scheduler_address(text, trusted_network=True)
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": text}))
    with pytest.raises(ClusterError, match="scheduler.json': expected the address"):
        scheduler_address(str(path), trusted_network=True)


def test_the_table_shows_workers_shares_and_failures_and_after_the_call_the_failures_alone(study):
    assert read_state(study) is None
    state = State(study, "tcp://127.0.0.1:8786")
    state.runs[MSFF] = {"fraction": 0.5, "worker": "tcp://127.0.0.1:1"}
    state.runs[INTERNET] = {"error": "TrainingError: loss is nan", "worker": "tcp://127.0.0.1:1"}
    waiting = {row.run: row.hours_left for row in trainings(study)}
    state.write(WORKERS, slots=1, now=True)
    with pytest.raises(ClusterError, match="another call already"):
        State(study, "tcp://127.0.0.1:8786")
    rows = trainings(study)
    msff, internet = rows
    assert msff == (MSFF, "running", "1/2", pytest.approx(waiting[MSFF] / 2), "tcp://127.0.0.1:1")
    assert (internet.run, internet.state, internet.note) == (INTERNET, "failed", "TrainingError: loss is nan")
    assert "1 running, 0 waiting, 1 failed" in summary(rows, "smoke")
    state.close()
    assert {row.run: row.state for row in trainings(study)} == {MSFF: "waiting", INTERNET: "failed"}
    assert read_state(study)["workers"] == {}
