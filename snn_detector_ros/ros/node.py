# SPDX-License-Identifier: Apache-2.0
"""
The node: a managed (lifecycle) node that turns images, or events, into detections.

Configure loads the network and advertises, activate subscribes and starts the worker, deactivate
stops both, clean-up frees them. The executor's thread only receives and reports; events are decoded
in a thread of their own, and detection runs in the worker's. A wrong model, parameter, image or
packet never ends the node.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.errors import ConfigurationError, SnnDetectorError
from snn_detector_ros.ros import endpoints, monitor
from snn_detector_ros.ros.cv_bridge_adapter import ImageReader
from snn_detector_ros.ros.descriptors import declare
from snn_detector_ros.ros.diagnostics import Condition, diagnostics
from snn_detector_ros.ros.event_inputs import EventInputs
from snn_detector_ros.ros.event_worker import EventWorker
from snn_detector_ros.ros.inputs import Inputs
from snn_detector_ros.ros.managed_node import ManagedNode
from snn_detector_ros.ros.monitor import Monitor
from snn_detector_ros.ros.outputs import Outputs
from snn_detector_ros.ros.parameters import PARAMETERS, Settings
from snn_detector_ros.ros.session import explain, run_program
from snn_detector_ros.ros.stop_signal import StopSignal
from snn_detector_ros.ros.worker import Job, Worker

_SUCCESS = TransitionCallbackReturn.SUCCESS
_FAILURE = TransitionCallbackReturn.FAILURE


class SnnDetectorNode(ManagedNode):
    """
    See the module's text; topics, parameters and diagnostics are described in docs/node.md.

    :param make_detector: what makes a detector of the settings' values; :class:`Detector`.
    :param options: passed on to :class:`rclpy.lifecycle.LifecycleNode`.
    :raises ConfigurationError: if a parameter is given a value that is not allowed.
    """

    def __init__(
        self, *, make_detector: Callable[..., Detector] = Detector, **options: Any
    ) -> None:
        super().__init__('snn_detector', **options)
        self._make_detector = make_detector
        self._settings = declare(self)
        self._reader = ImageReader(self._settings.use_cv_bridge)
        self._monitor = Monitor()
        self._job: Job | None = None
        self._version = 0
        self._model_problem = ''
        self._refusal = ''
        self._mismatches: list[str] = []
        self._outputs: Outputs | None = None
        self._inputs: Inputs | EventInputs | None = None
        self._worker: Worker | None = None
        self._crashes: set[str] = set()
        self._pending: tuple[Settings, Detector | None] | None = None
        self.add_pre_set_parameters_callback(self._count_refusals)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1),
                          on_clock_change=True),
            post_callback=self._on_time_jump)
        self._diagnostics = endpoints.create_publisher(
            self, DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
        # On a clock of its own, which goes on while a simulated one stands still.
        self.create_timer(self._settings.diagnostics_period, self._report,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def start(self) -> None:
        """Configure and activate, if `autostart` says so."""
        if self._settings.autostart and self.trigger_configure() == _SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and advertise the results."""
        try:
            detector = self._load(self._settings)
            self._outputs = Outputs(self)
        except Exception as error:
            self._model_problem = explain(error)
            self.get_logger().error(f'cannot configure: {self._model_problem}')
            return _FAILURE
        self._install(detector)
        return _SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe."""
        assert self._outputs is not None
        self._monitor.reset()
        self._worker = Worker(
            self._current_job, self._outputs, self._monitor, clock=self.get_clock(),
            logger=self.get_logger(), on_crash=self._on_crash)
        try:
            self._inputs = self._open_inputs(self._worker)
            self._inputs.follow_publishers()
        except Exception as error:
            self.get_logger().error(f'cannot activate: {explain(error)}')
            self._stop()
            return _FAILURE
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the worker."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the network and the publishers."""
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, for good."""
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after a transition that crashed."""
        self._free()
        return _SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker, then give everything back."""
        self._stop()
        super().destroy_node()

    def _load(self, settings: Settings) -> Detector:
        """Return a detector that is ready for its first image."""
        detector = self._make_detector(
            settings.model or None, engine=settings.engine,
            input_size=settings.input_size or None, threads=settings.threads,
            spinning=settings.spinning, statistics=settings.statistics)
        if detector.reads_events and settings.input_type != 'events':
            raise ConfigurationError(
                f'{detector.model_name} was trained on events, but `input_type` is '
                f'`{settings.input_type}`: start the node with `events`, or choose another model')
        detector.warm_up()
        return detector

    def _install(self, detector: Detector) -> None:
        """Use a detector from the next image on."""
        assert self._outputs is not None
        self._job = Job(detector, self._settings, self._reader)
        self._version += 1
        self._model_problem = ''
        self._publish_labels()
        height, width = detector.input_size
        self.get_logger().info(
            f'network {self._version}: {detector.model_name}, {height}x{width}, {detector.code}, '
            f'engine {detector.engine_name} ({detector.engine_reason})')

    def _open_inputs(self, worker: Worker) -> Inputs | EventInputs:
        if self._settings.input_type == 'image':
            return Inputs(self, self._monitor, worker.submit, settings=self._current_settings)
        decoder = EventWorker(
            worker.submit, self._monitor, settings=self._current_settings, clock=self.get_clock(),
            logger=self.get_logger(), on_crash=self._on_crash)
        return EventInputs(self, self._monitor, decoder)

    def _publish_labels(self) -> None:
        assert self._outputs is not None and self._job is not None
        self._outputs.publish_labels(
            self._job.detector, threshold=self._settings.score_threshold, version=self._version)

    def _current_job(self) -> Job:
        assert self._job is not None
        return self._job

    def _current_settings(self) -> Settings:
        return self._settings

    def _stop(self) -> None:
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _free(self) -> None:
        self._stop()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        self._job = None

    def _count_refusals(self, parameters: list[Parameter]) -> list[Parameter]:
        """Take note of values that rclpy or :meth:`_check_parameters` will refuse."""
        try:
            self._settings.changed(_of_table(parameters))
        except SnnDetectorError as error:
            self._refuse(error)
        return parameters

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Check new values, and load a network that they ask for beside the one in use."""
        try:
            settings = self._settings.changed(_of_table(parameters))
        except SnnDetectorError as error:
            return SetParametersResult(successful=False, reason=str(error))
        reload = self._job is not None and settings.needs_reload(self._settings)
        try:
            self._pending = settings, self._load(settings) if reload else None
        except Exception as error:
            self._refuse(error)
            return SetParametersResult(successful=False, reason=explain(error))
        return SetParametersResult(successful=True)

    def _refuse(self, error: Exception) -> None:
        self._refusal = explain(error)
        self._monitor.count(monitor.REFUSED_PARAMETERS)
        self.get_logger().warning(f'parameters refused: {self._refusal}')

    def _apply_parameters(self, parameters: list[Parameter]) -> None:
        """Take over what :meth:`_check_parameters` prepared."""
        if self._pending is None:
            return
        before = self._settings
        (self._settings, detector), self._pending = self._pending, None
        if self._settings.use_cv_bridge != before.use_cv_bridge:
            self._reader = ImageReader(self._settings.use_cv_bridge)
        if self._job is None:
            return
        if detector is not None:
            self._install(detector)
            return
        self._job = Job(self._job.detector, self._settings, self._reader)
        if self._settings.score_threshold != before.score_threshold:
            self._publish_labels()

    def _on_time_jump(self, jump: TimeJump) -> None:
        self._monitor.reset(monitor.TIME_JUMPS)
        if self._inputs is not None:
            self._inputs.restart()

    def _on_crash(self, error: Exception) -> None:
        """Log an unexpected error of the worker, the first of its kind with its traceback."""
        kind = type(error).__name__
        if self.context.ok() and kind not in self._crashes:
            self._crashes.add(kind)
            self.get_logger().error(''.join(traceback.format_exception(error)))

    def _report(self) -> None:
        """Publish diagnostics, and follow the comings and goings on our topics."""
        if self._inputs is not None:
            self._inputs.follow_publishers()
        if self._outputs is not None:
            self._outputs.follow_subscribers()
        self._diagnostics.publish(diagnostics(
            self.get_fully_qualified_name(), self.get_clock().now().to_msg(), self._condition(),
            self._monitor.report()))

    def _lasting_mismatches(self) -> list[str]:
        """Return the mismatches seen twice: of an endpoint just found not all may be known."""
        topics = [*(self._inputs.sources if self._inputs else ()),
                  *(self._outputs.topics if self._outputs else ())]
        before, self._mismatches = self._mismatches, endpoints.mismatches(self, topics)
        return [mismatch for mismatch in self._mismatches if mismatch in before]

    def _condition(self) -> Condition:
        inputs, outputs, job = self._inputs, self._outputs, self._job
        return Condition(
            state=self.state,
            settings=self._settings,
            detector=job.detector if job else None,
            version=self._version,
            model_problem=self._model_problem,
            refusal=self._refusal,
            sources=inputs.sources if inputs else {},
            image_bytes=inputs.image_bytes if inputs else 0,
            input_problem=inputs.problem if inputs else '',
            mismatches=self._lasting_mismatches(),
            silence=self._monitor.silence,
            sim_time=self.get_parameter('use_sim_time').value,
            cv_bridge=self._reader.status,
            marker_problem=outputs.marker_problem if outputs else '')


def _of_table(parameters: list[Parameter]) -> dict[str, Any]:
    """Return name and value of those parameters that are ours: others are rclpy's."""
    return {parameter.name: parameter.value for parameter in parameters
            if parameter.name in PARAMETERS}


def main(*, stop: StopSignal | None = None) -> int:
    """
    Run the node until SIGINT or SIGTERM; see :func:`.session.run_program`.

    :returns: exit status: 0, or 1 if ROS 2 does not start or a parameter is not allowed.
    """
    return run_program('snn_detector', _run, stop)


def _run(stop: StopSignal) -> None:
    node = SnnDetectorNode()
    node.start()
    _spin(node, stop)
    node.destroy_node()


def _spin(node: SnnDetectorNode, stop: StopSignal) -> None:
    """Run callbacks, in a thread of their own, until a stop is asked for."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    stopped = threading.Event()

    def spin() -> None:
        while not stopped.is_set():
            executor.spin_once()

    with ThreadPoolExecutor(1, thread_name_prefix='executor') as pool:
        spinning = pool.submit(spin)
        spinning.add_done_callback(lambda _: stop.send())
        stop.wait()
        stopped.set()
        executor.wake()
        spinning.result()
    executor.shutdown()


if __name__ == '__main__':
    sys.exit(main())
