# SPDX-License-Identifier: Apache-2.0
"""An ONNX file as nodes with plain attributes, constants worked out on demand, and sub-graphs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from snn_detector_ros.errors import ConversionError

OLDEST_OPSET = 9
#: Since this version of the file format constants need not be inputs too.
OLDEST_IR = 4
_WITH_SUBGRAPHS = frozenset({'If', 'Loop', 'Scan'})


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """One node; absent optional inputs are dropped from the end and are '' in between."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: onnx.NodeProto

    @classmethod
    def from_proto(cls, proto: onnx.NodeProto) -> OnnxNode:
        """Read a node; one without a name is called after its first output."""
        attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        return cls(
            proto.name or next(iter(proto.output), ''), proto.op_type,
            tuple(proto.input), tuple(proto.output),
            {key: value.decode(errors='replace') if isinstance(value, bytes) else value
             for key, value in attributes.items()},
            proto)

    def error(self, problem: str) -> ConversionError:
        """Return an error that names this node and its operator."""
        return ConversionError(f'node `{self.name}` ({self.operator}): {problem}')


class OnnxGraph:
    """The nodes of one file that its outputs need, in topological order."""

    def __init__(self, path: str | Path) -> None:
        """
        Read and check a file.

        :param path: the ONNX file.
        :raises ConversionError: if it is missing, broken, or of an opset older than 9.
        """
        self.path = Path(path)
        try:
            if self.path.exists() and not self.path.is_file():
                raise ConversionError(f'{self.path} is no regular file')
            data = self.path.read_bytes()
            self.model = onnx.load_model_from_string(data)
            self._refuse_external_data()
            onnx.checker.check_model(self.model)
        except OSError as error:
            raise ConversionError(f'{self.path} cannot be read: {error.strerror}') from error
        except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
            raise ConversionError(f'{self.path} is not a valid ONNX file: {error}') from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.opsets = {entry.domain: entry.version for entry in self.model.opset_import}
        if self.opsets.get('', OLDEST_OPSET) < OLDEST_OPSET:
            raise ConversionError(f'{self.path} uses opset {self.opsets[""]}; export it with 11 or '
                                  'newer')
        self.outputs = tuple(value.name for value in self.model.graph.output)
        self.nodes = self._read_nodes()
        self.metadata = {entry.key: entry.value for entry in self.model.metadata_props}
        self._producers = {output: node for node in self.nodes for output in node.outputs}
        self._constants: dict[str, NDArray[Any] | onnx.TensorProto | None] = {
            tensor.name: tensor for tensor in self.model.graph.initializer}
        self.consumers = Counter(
            [name for node in self.nodes if node.operator != 'Shape' for name in node.inputs]
            + list(self.outputs))
        self.picture, self.picture_shape = self._find_picture()

    def fold(self, node: OnnxNode) -> bool:
        """
        Note that the outputs of a node are constants, if all its inputs are.

        Call it for each node in order; values are worked out when :meth:`constant` asks for them.
        """
        is_source = node.operator == 'Constant'
        is_foldable = node.operator not in _WITH_SUBGRAPHS and bool(node.inputs) and all(
            name == '' or name in self._constants for name in node.inputs)
        if is_source or is_foldable:
            for name in node.outputs:
                self._constants.setdefault(name, None)
        return is_source or is_foldable

    def is_known(self, tensor: str) -> bool:
        """Whether a tensor is a constant, as far as the nodes were folded."""
        return tensor in self._constants

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of a folded tensor; None if it is absent or depends on the picture."""
        if tensor not in self._constants:
            return None
        if self._constants[tensor] is None:
            self._evaluate(self._producers[tensor])
        value = self._constants[tensor]
        return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value

    def set_constant(self, tensor: str, value: NDArray[Any]) -> None:
        """Declare the value of a tensor, such as the result of a Shape node."""
        self._constants[tensor] = value

    def subgraph(
        self, inputs: Mapping[str, tuple[int, ...]], outputs: Iterable[str],
    ) -> onnx.ModelProto:
        """
        Cut out the nodes between some tensors and some outputs; what was folded is a constant.

        :param inputs: name and shape of the float32 tensors that become inputs.
        :param outputs: outputs of the graph.
        """
        wanted = set(outputs)
        needed: set[str] = set()
        constants: dict[str, NDArray[Any]] = {}
        open_tensors = list(wanted)
        while open_tensors:
            tensor = open_tensors.pop()
            if tensor in inputs or tensor in needed or tensor in constants or tensor == '':
                continue
            value = self.constant(tensor)
            if value is not None:
                constants[tensor] = value
                continue
            needed.add(tensor)
            node = self._producers.get(tensor)
            open_tensors.extend(node.inputs if node else ())
        graph = helper.make_graph(
            [n.proto for n in self.nodes if needed.intersection(n.outputs)], 'subgraph',
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
             for name, shape in inputs.items()],
            [helper.make_tensor_value_info(
                value.name, value.type.tensor_type.elem_type, None)
             for value in self.model.graph.output if value.name in wanted],
            [numpy_helper.from_array(value, name) for name, value in constants.items()])
        return helper.make_model(
            graph, opset_imports=self.model.opset_import,
            ir_version=max(self.model.ir_version, OLDEST_IR))

    def _read_nodes(self) -> tuple[OnnxNode, ...]:
        """Return the nodes that the outputs need."""
        needed = set(self.outputs)
        nodes = []
        for proto in reversed(self.model.graph.node):
            if not needed.isdisjoint(proto.output):
                needed.update(proto.input)
                nodes.append(OnnxNode.from_proto(proto))
        return tuple(reversed(nodes))

    def _find_picture(self) -> tuple[str, tuple[int | None, ...]]:
        """Return name and shape (None where free) of the one input that is not a weight."""
        # Old exporters list the weights among the inputs.
        inputs = [v for v in self.model.graph.input if v.name not in self._constants]
        if len(inputs) != 1:
            names = ', '.join(f'`{value.name}`' for value in inputs) or 'none'
            raise ConversionError(
                f'{self.path}: inputs: {names}; exactly one, the picture, can be converted')
        dims = inputs[0].type.tensor_type.shape.dim
        return inputs[0].name, tuple(
            dim.dim_value if dim.dim_value > 0 else None for dim in dims)

    def _refuse_external_data(self) -> None:
        for tensor in self.model.graph.initializer:
            if onnx.external_data_helper.uses_external_data(tensor):
                raise ConversionError(
                    f'{self.path}: `{tensor.name}` lies in another file; join them with: '
                    'onnx.save(onnx.load(IN), OUT)')

    def _evaluate(self, node: OnnxNode) -> None:
        feeds = {name: self.constant(name) for name in node.inputs if name}
        try:
            results = run_node(node, feeds, self.opsets)
        except Exception as error:
            raise node.error(f'this constant cannot be worked out: {error}') from error
        for name, value in zip(node.outputs, results, strict=True):
            self._constants[name] = np.asarray(value)


def run_node(
    node: OnnxNode, feeds: Mapping[str, Any], opsets: Mapping[str, int],
) -> list[NDArray[Any]]:
    """
    Run one node.

    :param feeds: its inputs by name.
    :param opsets: version of each operator domain.
    """
    proto, versions, feeds = node.proto, dict(opsets), dict(feeds)
    if node.operator in ('Squeeze', 'Unsqueeze') and 'axes' in node.attributes:
        # The reference evaluator of ONNX fails on axes that are an attribute, as before opset 13.
        feeds['/axes'] = np.array(node.attributes['axes'], np.int64)
        proto = helper.make_node(node.operator, [node.inputs[0], '/axes'], node.outputs)
        versions[''] = max(versions.get('', 0), 13)
    return list(ReferenceEvaluator(proto, opsets=versions).run(None, feeds))
