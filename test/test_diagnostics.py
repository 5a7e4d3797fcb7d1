"""What /diagnostics says: rates of sensors that tick, stutter and die, percentiles, and where every snapshot went."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from mmsense_ros.ros.diagnostics import LATENCIES, WINDOW, Latencies, Ledger, Meter, Status, diagnostic_array

pytestmark = pytest.mark.ros
ENGINE = {"engine": "parrot", "precision": "fp32"}


def test_rate_of_a_steady_sensor_whenever_asked():
    meter = Meter()
    for k in range(200):
        meter.tick(100 + k / 30)
        if k > 1:
            assert meter.rate(100 + k / 30) == pytest.approx(30)
            assert meter.rate(100 + (k + 0.9) / 30) == pytest.approx(30)


def test_a_sensor_that_dies_gets_slower_until_it_has_no_rate():
    meter = Meter()
    for k in range(60):
        meter.tick(k / 10)
    rates = [meter.rate(6 + silence) for silence in (0.5, 1, 2, 3, 4)]
    assert rates == sorted(rates, reverse=True) and rates[0] < 10
    assert meter.rate(6 + WINDOW + 1) == 0.0
    assert meter.last == pytest.approx(5.9)


def test_one_message_is_no_rate():
    meter = Meter()
    assert meter.rate(1.0) == 0.0
    meter.tick(1.0)
    assert meter.rate(1.5) == 0.0


def test_percentiles_of_the_latest():
    latencies = Latencies()
    latencies.add({"engine": 1e6})
    for k in range(LATENCIES):
        latencies.add({"engine": float(k % 100 + 1), "total": 5.0})
    values = latencies.values()
    assert values["engine p50 [ms]"] == pytest.approx(50.5)
    assert values["engine p95 [ms]"] == pytest.approx(95, abs=1)
    assert values["engine p99 [ms]"] == pytest.approx(99, abs=1)  # the million has been forgotten
    assert [values[f"total p{percent} [ms]"] for percent in (50, 95, 99)] == [5.0, 5.0, 5.0]


def test_the_ledger_accounts_for_every_snapshot():
    ledger = Ledger()
    for k in range(10):
        ledger.snapshots += 1
        ledger.incomplete.update(["radar"] if k % 2 else [])
        if k not in (3, 4, 5):
            ledger.publish({"total": 12.0}, k / 10)
    status = ledger.status(3, ENGINE, 1.0)
    assert status.level == DiagnosticStatus.WARN and "3 old snapshots dropped" in status.message
    assert status.values["snapshots"] == status.values["published"] + status.values["dropped: overload"] == 10
    assert status.values["without radar"] == 5
    assert status.values["total p99 [ms]"] == 12.0
    assert status.values["engine"] == "parrot"
    assert ledger.status(3, ENGINE, 1.0).level == DiagnosticStatus.OK  # none dropped since the last report


def test_a_fault_stands_until_a_result_goes_out():
    ledger = Ledger()
    ledger.snapshots = 2
    ledger.fail("radar_map fell over")
    status = ledger.status(0, ENGINE, 1.0)
    assert (status.level, status.message) == (DiagnosticStatus.ERROR, "radar_map fell over")
    assert status.values["dropped: failed"] == 1
    ledger.publish({"total": 1.0}, 1.0)
    assert ledger.status(0, ENGINE, 1.1).level != DiagnosticStatus.ERROR


def test_no_results_at_all_is_a_warning():
    assert Ledger().status(0, ENGINE, 1.0).level == DiagnosticStatus.WARN


def test_the_message_names_node_and_hardware():
    array = diagnostic_array(Time(sec=3), "ns.sense", "unit-7", [Status.error("radar", "silent", {"rate [Hz]": 0.0})])
    (status,) = array.status
    assert array.header.stamp.sec == 3
    assert (status.name, status.hardware_id, status.message) == ("ns.sense: radar", "unit-7", "silent")
    assert (status.level, status.values[0].key, status.values[0].value) == (DiagnosticStatus.ERROR, "rate [Hz]", "0.0")
