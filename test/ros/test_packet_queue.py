# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

from snn_detector_ros.ros.packet_queue import PacketQueue, Taken


def filled(*items, budget=100, size=40):
    queue = PacketQueue()
    for item in items:
        queue.put(item, size, budget=budget)
    return queue


def test_items_come_in_their_order():
    queue = filled('a', 'b')
    assert [queue.take(10), queue.take(10)] == [Taken('a', 0), Taken('b', 0)]


def test_the_oldest_give_way_and_are_counted_once():
    queue = filled('a', 'b', 'c', 'd')
    assert [queue.take(10), queue.take(10)] == [Taken('c', 2), Taken('d', 0)]


def test_an_item_beyond_the_budget_is_held_alone():
    queue = filled('a', 'b')
    queue.put('large', 1000, budget=100)
    assert [queue.take(10), queue.take(0)] == [Taken('large', 2), None]


def test_what_was_taken_makes_room():
    queue = filled('a', 'b')
    queue.take(10)
    queue.put('c', 40, budget=100)
    assert [queue.take(10), queue.take(10)] == [Taken('b', 0), Taken('c', 0)]


def test_taking_waits_no_longer_than_told():
    assert PacketQueue().take(0.01) is None


def test_closing_releases_who_waits_and_refuses_more():
    queue = PacketQueue()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(queue.take(10)))
    thread.start()
    queue.close()
    thread.join(10)
    queue.put('late', 1, budget=100)
    assert taken == [None] and queue.take(10) is None and not queue.is_open
