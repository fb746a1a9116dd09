"""The process table and the topic table say the same."""

import pytest

from bus.broker import DEVICE_ROLES, Account
from edge.processes import PROCESSES, ProcessRow
from schemas.topics import TOPICS, Role

OUTSIDE = {Role.MES, Role.CLI, Role.FLEET}
each_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)


@each_process
def test_a_process_publishes_what_the_topic_table_lets_it(process: ProcessRow) -> None:
    assert {row.key for row in process.publishes} == {row.key for row in TOPICS if process.role in row.publishers}


@each_process
def test_a_process_subscribes_to_what_the_topic_table_lets_it(process: ProcessRow) -> None:
    assert {row.key for row in process.subscribes} == {row.key for row in TOPICS if process.role in row.readers}


@each_process
def test_a_process_lists_no_topic_twice(process: ProcessRow) -> None:
    assert len(set(process.publishes)) == len(process.publishes)
    assert len(set(process.subscribes)) == len(process.subscribes)


def test_every_role_of_the_topic_table_is_one_process_or_outside() -> None:
    assert [process.role for process in PROCESSES] == list(dict.fromkeys(process.role for process in PROCESSES))
    assert {process.role for process in PROCESSES} == set(Role) - OUTSIDE == set(DEVICE_ROLES)


@each_process
def test_the_name_is_the_role_and_the_module(process: ProcessRow) -> None:
    assert process.name == process.role
    assert process.module == f"edge.{process.name}"
    assert Account(process.identity("one"), process.role).user == f"{process.name}-one"
    assert Account(process.identity(), process.role).user == process.name


@each_process
def test_what_a_process_starts_after_exists(process: ProcessRow) -> None:
    assert set(process.after) <= {other.name for other in PROCESSES} - {process.name}
