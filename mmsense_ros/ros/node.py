"""`sense`: the lifecycle node. Sensors in, synchronizer, one inference worker, results out; everything else is in its own file."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

# OpenMP threads that spin while they wait starve each other; it must be set before anything that uses OpenMP is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import SetParametersResult  # noqa: E402
from rclpy.clock import JumpThreshold  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from mmsense_ros.errors import MMSenseError  # noqa: E402
from mmsense_ros.perception import Perception  # noqa: E402
from mmsense_ros.ros import diagnostics, parameters  # noqa: E402
from mmsense_ros.ros.dds import use_profile  # noqa: E402
from mmsense_ros.ros.extrinsics import Extrinsics  # noqa: E402
from mmsense_ros.ros.outputs import Outputs  # noqa: E402
from mmsense_ros.ros.subscriptions import SensorSubscription  # noqa: E402
from mmsense_ros.ros.worker import Worker  # noqa: E402
from mmsense_ros.sensing import Sensing  # noqa: E402
from mmsense_ros.snapshot import NANOSECONDS, Reading, Snapshot  # noqa: E402
from mmsense_ros.sync import Synchronizer  # noqa: E402

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True, eq=False)
class Job:
    """One snapshot to be answered; `arrived` is when its last reading came [s, monotonic]."""

    snapshot: Snapshot
    instruction: str
    arrived: float


class Sense(LifecycleNode):
    """Everything runs in the executor's thread but `_answer`, which is the worker's."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("sense", **settings)
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._judge_parameters)
        self.faults = diagnostics.Faults(self.get_logger().error)
        self.perception: Perception | None = None
        self._worker: Worker[Job, Sensing] | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._instructions = self.create_subscription(String, "instruction", self._instruct, LATCHED)

    def value(self, name: str) -> Any:
        """A parameter's value."""
        return self.get_parameter(name).value

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open model and calibration, announce the outputs."""
        try:
            self.settings = settings = parameters.read(self)
            self.extrinsics = Extrinsics(self, settings.calibration)
            chosen = settings.model, settings.engine, settings.precision, settings.threads
            self.perception = Perception.open(self.extrinsics.calibration, *chosen)
        except MMSenseError as error:
            self.get_logger().fatal(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        engine = self.perception.engine
        self.get_logger().info(f"engine {engine.name} in {engine.precision}: {engine.reason}")
        self.synchronizer = Synchronizer(settings.sync)
        self.outputs = Outputs(self, self.perception.card.codebook, self.extrinsics)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and answer."""
        self.synchronizer.reset("activated")
        self._ready = self.create_guard_condition(self._publish)
        self._worker = Worker(self._answer, self._ready.trigger)
        self._sensors = [SensorSubscription(self, sensor, self._receive, self._fault) for sensor in self.settings.sensors]
        self.gauges = diagnostics.Gauges({entry.sensor: entry.topic for entry in self._sensors}, self.faults)
        self._deadline = self.create_timer(1.0, self._poll)
        self._deadline.cancel()
        self._report = self.create_timer(self.settings.diagnostics_period, self._diagnose)
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-self.settings.sync.max_jump))
        self._jumps = self.get_clock().create_jump_callback(threshold, post_callback=self._jumped)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the model stays open."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the model."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and close, from any state."""
        self._stop()
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker first: it must not wake an executor that is gone."""
        self._stop()
        super().destroy_node()
        self._close_engine()

    def _stop(self) -> None:
        if self._worker is None:
            return
        if not self._worker.stop():
            self.get_logger().warning("the engine did not finish its last snapshot in time")
        self._worker = None
        self._jumps.unregister()
        for entry in self._sensors:
            entry.destroy()
        for timer in (self._deadline, self._report):
            self.destroy_timer(timer)
        self.destroy_guard_condition(self._ready)

    def _close(self) -> None:
        if self.perception is not None:
            self.outputs.destroy()
            self.extrinsics.destroy()
        self._close_engine()

    def _close_engine(self) -> None:
        if self.perception is not None:
            self.perception.close()
            self.perception = None

    def _receive(self, sensor: str, reading: Reading) -> None:
        now = self.get_clock().now().nanoseconds
        self.gauges.hear(sensor, time.monotonic(), (now - reading.stamp) / NANOSECONDS)
        self._submit(self.synchronizer.push(sensor, reading.stamp, reading, now))

    def _poll(self) -> None:
        self._submit(self.synchronizer.poll(self.get_clock().now().nanoseconds))

    def _submit(self, snapshots: list[Snapshot]) -> None:
        """Give snapshots to the worker and wake up at the synchronizer's next deadline."""
        now, clock = time.monotonic(), self.get_clock().now().nanoseconds
        for snapshot in snapshots:
            self.gauges.snapshots += 1
            self.gauges.partial += bool(snapshot.missing)
            waited = max(0, clock - snapshot.arrived) / NANOSECONDS
            self._worker.submit(Job(snapshot, self.value("instruction"), now - waited))
        deadline = self.synchronizer.deadline()
        if deadline is None:
            self._deadline.cancel()
        else:
            self._deadline.timer_period_ns = max(deadline - clock, 100_000)
            self._deadline.reset()

    def _answer(self, job: Job) -> Sensing:
        """In the worker's thread."""
        wait = 1e3 * (time.monotonic() - job.arrived)
        self.perception.calibration = self.extrinsics.calibration
        sensing = self.perception(job.snapshot, job.instruction)
        stages = {"wait": wait, **sensing.latency_ms}
        return replace(sensing, latency_ms=stages | {"total": wait + stages["total"]})

    def _publish(self) -> None:
        """Woken by the worker: its results go out."""
        for job, result in self._worker.take() if self._worker else ():
            if isinstance(result, Sensing):
                self.outputs.publish(job.snapshot, result)
                self.gauges.published += 1
                self.gauges.latency.append(result.latency_ms["total"])
            else:
                known = isinstance(result, MMSenseError)
                self._fault("inference", str(result) if known else f"inference failed ({result!r}); please report this")

    def _diagnose(self) -> None:
        for entry in self._sensors:
            entry.check_graph()
            self.gauges.topics[entry.sensor] = entry.topic
        engine = self.perception.engine
        described = {"engine": engine.name, "precision": engine.precision, "reason": engine.reason}
        sync, worker = self.synchronizer, self._worker
        statuses = diagnostics.all_statuses(
            self.gauges, sync.counters, sync.resets, described, worker.overwritten, time.monotonic()
        )
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), statuses, self.value("hardware_id")))

    def _fault(self, source: str, words: str) -> None:
        self.faults.add(source, words, time.monotonic())

    def _jumped(self, jump: Any) -> None:
        self.synchronizer.reset("clock jumped")

    def _instruct(self, message: String) -> None:
        self.set_parameters([Parameter("instruction", value=message.data)])

    def _judge_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        return parameters.check(changes, configured=self.perception is not None)


def main(arguments: list[str] | None = None) -> int:
    """Run the node until Ctrl-C (0); 2 if it cannot be configured as asked."""
    node = None
    try:
        use_profile()
        rclpy.init(args=arguments)
        node = Sense()
        if node.value("autostart") and not start(node):
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except MMSenseError as error:
        print(f"sense: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        if node is not None:
            try:
                node.destroy_node()
            except KeyboardInterrupt:  # a second Ctrl-C
                pass
        rclpy.try_shutdown()
    return 0


def start(node: Sense) -> bool:
    """Configure and activate; False if that failed."""
    success = TransitionCallbackReturn.SUCCESS
    return node.trigger_configure() == success and node.trigger_activate() == success


if __name__ == "__main__":
    sys.exit(main())
