"""What a worker's process compares, fetches and makes, without a cluster."""

import dataclasses
import socket
import sys
from multiprocessing.connection import Connection

import pytest
from make_results import store_made_up
from tiny_study import tiny_study, twin

from msff.study.archive import ADDED, ingest_bytes
from msff.study.cluster import process, worker
from msff.study.cluster.worker import LostRun, Order

RUN = "standin-rhd/msff/full/seed0"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A project folder in which a worker was started."""
    study = tiny_study(tmp_path / "worker")
    monkeypatch.chdir(study.root)
    monkeypatch.setattr(process, "write_output_to", lambda log: None)
    return study


def request(study):
    return process.request_of(study, [study.experiment(RUN)])


def order(study, unwanted=None):
    return Order(request(study), RUN, resume=True, own=False, unwanted=unwanted, auxiliary=None)


def test_an_equal_checkout_states_what_it_holds(study):
    assert process._facts(request(study))["held"] == {}
    store_made_up(study, RUN, uid="first")
    facts = process._facts(request(study))
    assert facts["refused"] == "" and facts["held"] == {RUN: 1.0}


@pytest.mark.parametrize("name", ["Python", "code"])
def test_another_version_is_refused_by_name(study, name):
    wanted = request(study)
    other = dataclasses.replace(wanted, versions=wanted.versions | {name: "another"})
    with pytest.raises(ValueError, match=f"its {name} is .*, the client's another"):
        process._facts(other)


def test_a_finished_run_is_fetched_and_not_trained_again(study, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_make", lambda *_: pytest.fail("it is trained"))
    store_made_up(study, RUN, uid="first")
    content = process._archive(order(study), connection=None)
    client = tiny_study(tmp_path / "client")
    assert ingest_bytes(content, RUN, client.root, project=client)[1] == {RUN: ADDED}
    assert client.store.get(client.experiment(RUN)).record.uid == "first"


def test_a_run_that_is_to_be_replaced_is_made_again(study, monkeypatch):
    monkeypatch.setattr(process, "_make", lambda *_: store_made_up(study, RUN, uid="second"))
    store_made_up(study, RUN, uid="first")
    assert process._archive(order(study, unwanted="first"), connection=None)
    assert study.store.get(study.experiment(RUN)).record.uid == "second"


@pytest.mark.parametrize(
    ("error", "lost"),
    [(RuntimeError("CUDA error"), True), (MemoryError(), True), (OSError(28, "No space left on device"), True),
     (process.MsffError("loss is nan"), False), (ValueError("no such run"), False)],
)  # fmt: skip
def test_only_an_error_that_may_pass_is_worth_another_attempt(study, monkeypatch, capsys, error, lost):
    def fail(*_):
        raise error

    ours, theirs = socket.socketpair()
    monkeypatch.setattr(process, "_archive", fail)
    monkeypatch.setattr(sys, "argv", ["", str(theirs.detach())])
    with Connection(ours.detach()) as connection:
        connection.send(order(study))
        process.main()
        answer = connection.recv()
    assert isinstance(answer, LostRun if lost else str) and str(answer).startswith(type(error).__name__)


def test_a_process_that_dies_is_a_lost_run(study, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    (answer,) = worker._process(order(study))
    assert isinstance(answer, LostRun) and str(answer) == "its process ended with code 1"


def test_archives_of_another_profile_are_refused_where_one_is_expected(study, tmp_path):
    other = twin(study, tmp_path / "other")
    other.profile = dataclasses.replace(study.profile, name="cpu")
    store_made_up(study, RUN, uid="first")
    content = process._archive(order(study), connection=None)
    with pytest.raises(process.MsffError, match="expected one folder named after a profile, found ..smoke"):
        ingest_bytes(content, RUN, study.root, project=other)
