"""The lifecycle node `sense`: parameters in, readings to the synchronizer, snapshots to the worker, answers out.

Everything but inference runs in the executor's one thread, publishing included: the worker hands its answers back through a
guard condition, so that no transition, parameter or counter can change between an answer and its publication, and nothing
needs a lock.
"""

from __future__ import annotations

import os

# Waiting threads that spin starve the others: both must be set before anything that uses them is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import rclpy
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from mmsense_ros.engine.cores import stay_on
from mmsense_ros.errors import MMSenseError, ModelError
from mmsense_ros.perception import Perception
from mmsense_ros.ros import parameters
from mmsense_ros.ros.diagnostics import Ledger, Status, diagnostic_array
from mmsense_ros.ros.extrinsics import Extrinsics
from mmsense_ros.ros.outputs import LATCHED, Outputs
from mmsense_ros.ros.program import run, undisturbed
from mmsense_ros.ros.subscriptions import SensorTopic
from mmsense_ros.ros.types import message_class
from mmsense_ros.ros.worker import Worker
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, Reading, Snapshot
from mmsense_ros.sync import Synchronizer

INSTRUCTION = "instruction"
CLOCK_JUMP = 0.1  #: [s] of simulated time backwards that is no disorder of /clock messages any more


@dataclass(frozen=True, eq=False)
class Job:
    """A snapshot to answer: `synchronized` [s] after its reference came in, and `submitted` then (perf_counter)."""

    snapshot: Snapshot
    instruction: str
    synchronized: float
    submitted: float


class Sense(LifecycleNode):
    """Loads the model when configured, listens and publishes while active, frees it when cleaned up."""

    def __init__(self) -> None:
        super().__init__("sense")
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(lambda _: self._tell_instruction())
        self._settings: parameters.Settings | None = None
        self._extrinsics: Extrinsics | None = None
        self._perception: Perception | None = None
        self._worker: Worker[Job, Sensing] | None = None
        self._topics: dict[str, SensorTopic] = {}
        self._fault = "not configured; set the parameter autostart, or change the state"
        self._answered = self.create_guard_condition(self._publish_answers)
        self._diagnostics = self.create_publisher(message_class("diagnostic_msgs/msg/DiagnosticArray"), "/diagnostics", 10)
        # Real time, unlike all else: that simulated time stands still is something to report.
        clock, period = Clock(clock_type=ClockType.STEADY_TIME), self.get_parameter("diagnostics.period").value
        self.create_timer(period, self._report, clock=clock)
        jump = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-CLOCK_JUMP), on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(jump, post_callback=self._clock_jumped)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and load the model."""
        try:
            settings = self._settings = parameters.read(self)
            self._extrinsics = Extrinsics(self, settings.calibration)
            self._perception = Perception.open(self._extrinsics.calibration, settings.model, settings.engine)
            self._perception.require(self.get_parameter("instruction").value)
        except MMSenseError as error:
            self._fault = f"not configured: {error}"
            self.get_logger().error(self._fault)
            self._free()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"not configured, which is a fault of mmsense_ros:\n{traceback.format_exc()}")
            raise
        engine = self._perception.engine
        self.get_logger().info(f"engine {engine.name} in {engine.precision}: {engine.reason}")
        self._outputs = Outputs(self, self._perception.card.codebook)
        self._deadline = self.create_timer(1.0, self._poll, autostart=False)
        # Frames that waited for the same partner come together; each is worth an answer.
        begin = partial(stay_on, settings.engine.cores)
        self._worker = Worker(self._sense, self._answered.trigger, patience=settings.sync.max_wait, begin=begin)
        self._fault = "inactive; activate it"
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the sensors."""
        self._ledger, self._synchronizer = Ledger(), Synchronizer(self._settings.sync)
        self._overwritten = self._worker.overwritten
        self._topics = {sensor.name: SensorTopic(self, sensor, self._push) for sensor in self._settings.sensors}
        self._outputs.open()
        self._instructions = self.create_subscription(
            message_class("std_msgs/msg/String"), INSTRUCTION, self._take_instruction, LATCHED
        )
        self._fault = ""
        done = super().on_activate(state)
        self._tell_instruction()
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen no more."""
        self._deadline.cancel()
        self._worker.discard()
        self._silence()
        self._fault = "inactive; activate it"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._free()
        self._fault = "not configured"
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whatever state."""
        self._silence()
        self._free()
        self._fault = "shut down"
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, whatever failed."""
        return self.on_shutdown(state)

    def close(self) -> None:
        """Stop all threads for good, in whatever state and with or without a context."""
        if self._topics:
            self._outputs.stop()
        if self._worker is not None and self._worker.stop():
            self._perception.close()

    def _silence(self) -> None:
        for topic in self._topics.values():
            topic.close()
        if self._topics:
            self._outputs.close()
            self.destroy_subscription(self._instructions)
        self._topics = {}

    def _free(self) -> None:
        if self._settings is None:
            return
        self._settings = None
        if self._extrinsics is not None:
            self._extrinsics.close()
        if self._worker is not None:
            stopped = self._worker.stop()
            self._outputs.destroy()
            self.destroy_timer(self._deadline)
            if stopped:  # else the engine still runs, and goes with the process
                self._perception.close()
        self._worker = self._perception = self._extrinsics = None

    def _check_parameters(self, changed: Sequence[Parameter]) -> parameters.SetParametersResult:
        """An instruction that cannot be understood is refused, and the last one stays."""
        try:
            for parameter in changed:
                if parameter.name == "instruction" and self._perception is not None:
                    self._perception.require(parameter.value)
        except ModelError as error:
            return parameters.SetParametersResult(successful=False, reason=str(error))
        return parameters.check(changed, configured=self._settings is not None)

    def _take_instruction(self, message: object) -> None:
        result = self.set_parameters([Parameter("instruction", value=message.data)])[0]
        self._ledger.refused = "" if result.successful else f"instruction refused: {result.reason}"
        if self._ledger.refused:
            self.get_logger().error(self._ledger.refused)

    def _tell_instruction(self) -> None:
        """A parameter alone would be missing from recordings."""
        if self._topics:
            self._outputs.tell(self.get_parameter("instruction").value)

    def _clock_jumped(self, jump: TimeJump) -> None:
        if self._topics:
            self._synchronizer.reset("ROS clock jumped")

    def _push(self, sensor: str, reading: Reading) -> None:
        """A reading came. Raises CalibrationError if it is not known where its sensor is."""
        if sensor != CAMERA:
            self._extrinsics.calibration.antenna_from(reading.frame_id)
        now = self.get_clock().now().nanoseconds
        self._submit(self._synchronizer.push(sensor, reading.stamp, reading, now), now)

    def _poll(self) -> None:
        """A deadline came."""
        now = self.get_clock().now().nanoseconds
        self._submit(self._synchronizer.poll(now), now)

    def _submit(self, snapshots: list[Snapshot], now: int) -> None:
        for snapshot in snapshots:
            self._ledger.snapshots += 1
            self._ledger.incomplete.update(name for name in self._topics if name not in snapshot.readings)
            synchronized = max(0, now - snapshot.arrived) / 1e9
            instruction = self.get_parameter("instruction").value
            self._worker.submit(Job(snapshot, instruction, synchronized, time.perf_counter()))
        deadline = self._synchronizer.deadline()
        if deadline is None:
            self._deadline.cancel()
        else:
            self._deadline.timer_period_ns = max(deadline - now, 100_000)
            self._deadline.reset()

    def _sense(self, job: Job) -> Sensing:
        """In the worker's thread."""
        before = {"sync": 1e3 * job.synchronized, "queue": 1e3 * (time.perf_counter() - job.submitted)}
        self._perception.calibration = self._extrinsics.calibration
        sensing = self._perception(job.snapshot, job.instruction)
        total = sum(before.values()) + sensing.latency_ms["total"]
        return replace(sensing, latency_ms={**before, **sensing.latency_ms, "total": total})

    def _publish_answers(self) -> None:
        for job, answer in self._worker.take() if self._worker else []:
            if not self._topics:
                continue
            if isinstance(answer, Exception):
                fault = str(answer) if isinstance(answer, MMSenseError) else f"perception failed: {answer!r}; report this"
                if fault != self._ledger.fault:
                    self.get_logger().error(fault)
                self._ledger.fail(fault)
            else:
                after = self._outputs.publish(job.snapshot, answer, self._extrinsics.calibration)
                self._ledger.publish({**answer.latency_ms, **after}, time.monotonic())

    def _report(self) -> None:
        """Publish /diagnostics."""
        if self._fault:
            statuses = [Status.error("lifecycle", self._fault, {})]
        else:
            for topic in self._topics.values():
                topic.follow()
            counters = self._synchronizer.counters
            statuses = [topic.status(counters[name]) for name, topic in self._topics.items()]
            engine = self._perception.engine
            about = {"engine": engine.name, "precision": engine.precision, "why this engine": engine.reason}
            about |= {f"reset: {reason}": str(count) for reason, count in self._synchronizer.resets.items()}
            about |= {f"listeners: {topic}": str(count) for topic, count in self._outputs.listeners().items()}
            overwritten = self._worker.overwritten - self._overwritten
            statuses.append(self._ledger.status(overwritten, about, time.monotonic()))
        name = self.get_fully_qualified_name().lstrip("/").replace("/", ".")
        hardware = self.get_parameter("hardware_id").value
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), name, hardware, statuses))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted (0); 2 if a parameter cannot be used."""
    return run(ArgumentParser("sense", description="Sense the street; parameters and topics by --ros-args."), _run, arguments)


def _run(_: Namespace) -> None:
    node = Sense()
    with undisturbed(node.close):  # the engine must be at rest when the interpreter ends
        if node.get_parameter("autostart").value and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        rclpy.spin(node)


if __name__ == "__main__":
    sys.exit(main())
