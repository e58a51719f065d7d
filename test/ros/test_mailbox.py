# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

from snn_detector_ros.ros.mailbox import Mailbox


def test_the_newest_item_is_taken_and_replacing_is_told():
    mailbox = Mailbox()
    assert [mailbox.put(item) for item in (1, 2, 3)] == [False, True, True]
    assert mailbox.take() == 3
    assert mailbox.put(4) is False
    assert mailbox.take() == 4


def test_taking_waits_for_an_item():
    mailbox = Mailbox()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(mailbox.take()))
    thread.start()
    mailbox.put('item')
    thread.join(10)
    assert taken == ['item']


def test_closing_releases_who_waits_and_drops_what_waits():
    mailbox = Mailbox()
    mailbox.put('item')
    mailbox.close()
    assert mailbox.take() is None
    waiting = Mailbox()
    thread = threading.Thread(target=waiting.take)
    thread.start()
    waiting.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_closed_mailbox_takes_nothing():
    mailbox = Mailbox()
    mailbox.close()
    mailbox.put('item')
    assert mailbox.take() is None


def test_every_item_of_a_fast_sender_is_taken_or_counted_as_replaced():
    mailbox = Mailbox()
    replaced, taken = [], []

    def send():
        replaced.extend(mailbox.put(item) for item in range(1, 2001))

    def receive():
        while not taken or taken[-1] != 2000:
            taken.append(mailbox.take())

    threads = [threading.Thread(target=send), threading.Thread(target=receive)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(taken) + sum(replaced) == 2000
    assert taken == sorted(taken)
