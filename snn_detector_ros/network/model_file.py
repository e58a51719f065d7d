# SPDX-License-Identifier: Apache-2.0
"""
The model file: one standard quantised ONNX graph that is also, exactly, a spiking network.

Any ONNX runtime can run the graph (NCHW, uint8 picture in, float readouts out): each convolution is
a QDQ group whose weight scale is ``1 / threshold``, followed by a Clip at Q, so that the uint8
tensors between layers are the levels, around a zero point of Q where some are signed. What the
graph has no place for (spike code, initial membrane, dynamics, steps, slopes, head, names,
provenance) stands in one JSON metadata entry. A network that was trained with spikes is a float
graph instead, exactly the one that :mod:`~snn_detector_ros.network.lif_graph` writes of its
metadata. Nothing is pickled, nothing points outside the file, and nothing in it is trusted before
:func:`load` has checked it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import onnx
from onnx import ModelProto

from snn_detector_ros.errors import ModelFileError, NetworkError, SnnDetectorError
from snn_detector_ros.network import lif_file, lif_graph
from snn_detector_ros.network.codes import SpikeCode
from snn_detector_ros.network.head_entry import from_entry, integer, to_entry
from snn_detector_ros.network.layers import Convolution, Rectifier
from snn_detector_ros.network.lif_network import LifNetwork
from snn_detector_ros.network.lif_validation import validate_lif
from snn_detector_ros.network.qdq_reader import read_layers
from snn_detector_ros.network.qdq_writer import OPSET, VALUE_SUFFIX, write_graph
from snn_detector_ros.network.spiking_network import SpikingNetwork
from snn_detector_ros.network.validation import validate

METADATA_KEY = 'snn_detector_network'
METADATA_VERSION = 1
#: EMS-Res34 of 80 classes, the largest published network of those trained with spikes, takes 130.
MAX_FILE_BYTES = 160 << 20

AnyNetwork: TypeAlias = SpikingNetwork | LifNetwork


def save(network: AnyNetwork, path: str | Path) -> None:
    """
    Write a network as a model file.

    :raises NetworkError: if the network breaks a rule of exact execution.
    """
    Path(path).write_bytes(to_onnx(network).SerializeToString())


def to_onnx(network: AnyNetwork) -> ModelProto:
    """Return the model file of a network as an ONNX model."""
    if isinstance(network, LifNetwork):
        validate_lif(network)
        graph, entries = lif_graph.write_graph(network), lif_file.to_metadata(network)
    else:
        validate(network)
        graph, entries = write_graph(network), _metadata(network)
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid('', OPSET)], ir_version=8,
        producer_name='snn_detector_ros')
    onnx.helper.set_model_props(
        model, {METADATA_KEY: json.dumps({'version': METADATA_VERSION, **entries})})
    return model


def is_spiking(path: str | Path) -> bool:
    """
    Return whether an ONNX file is one of our model files, as opposed to a float network.

    :raises ModelFileError: if it is no ONNX file at all.
    """
    return METADATA_KEY in _properties(_read(Path(path)))


def load_converted(path: str | Path) -> SpikingNetwork:
    """
    Read and check the model file of a converted network.

    :raises ModelFileError: also if the network was trained as a spiking network.
    """
    network = load(path)
    if isinstance(network, SpikingNetwork):
        return network
    raise ModelFileError(f'{path}: was trained as a spiking network and never was a float network; '
                         'only networks made by `snn-detector convert` can be used here')


def load(path: str | Path) -> AnyNetwork:
    """
    Read and check a model file.

    :raises ModelFileError: naming the file, the node at fault and the remedy.
    """
    path = Path(path)
    model = _read(path)
    text = _properties(model).get(METADATA_KEY)
    if text is None:
        raise ModelFileError(f'{path}: is an ONNX file, but no spiking network; make one with: '
                             f'snn-detector convert {path.name} --calibration DIR -o OUT.onnx')
    try:
        network = _network(json.loads(text), model)
    except SnnDetectorError as error:
        raise ModelFileError(f'{path}: {error}') from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError,
            RecursionError) as error:
        raise ModelFileError(f'{path}: metadata cannot be read ({type(error).__name__}: {error}); '
                             'convert the float network again') from error
    return network


def _read(path: Path) -> ModelProto:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelFileError(f'{path}: is no regular file')
        if size > MAX_FILE_BYTES:
            raise ModelFileError(f'{path}: {size >> 20} MiB; models may have at most '
                                 f'{MAX_FILE_BYTES >> 20} MiB')
        model = ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f'{path}: {error.strerror or error}') from error
    except ModelFileError:
        raise
    except Exception as error:  # protobuf has no common base class for a parse error
        raise ModelFileError(f'{path}: is truncated or no ONNX file ({error})') from error
    if not model.graph.node:
        raise ModelFileError(f'{path}: is truncated or no ONNX file (it holds no graph)')
    return model


def _properties(model: ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def _metadata(network: SpikingNetwork) -> dict[str, Any]:
    return {
        'name': network.name,
        'code': {'tau': network.code.tau, 'burst': network.code.burst},
        'initial_membrane': network.initial_membrane,
        'dynamics': network.dynamics,
        'input_size': network.input_size,
        'pixels': 'uint8, blue-green-red',
        'class_names': network.class_names,
        'head': to_entry(network.head),
        # Nine digits give every float32 back unchanged.
        'steps': {conv.name: [float(f'{step:.9g}') for step in conv.step]
                  for conv in network.convolutions if not conv.is_readout},
        'slopes': {layer.name: layer.slope for layer in network.layers
                   if isinstance(layer, (Convolution, Rectifier)) and layer.slope},
        'firing_rates': {name: float(f'{rate:.4g}')
                         for name, rate in network.firing_rates.items()},
        'provenance': dict(network.provenance),
    }


def _network(metadata: Mapping[str, Any], model: ModelProto) -> AnyNetwork:
    # What cannot be written as UTF-8 can be neither logged nor published.
    json.dumps(metadata, ensure_ascii=False).encode()
    version = metadata['version']
    if version != METADATA_VERSION:
        raise NetworkError('metadata', f'version {version!r}: this release reads version '
                           f'{METADATA_VERSION}; install the release that wrote the file')
    if metadata.get('kind') == lif_file.KIND:
        return lif_file.from_metadata(metadata, model.graph)
    network = _converted_network(metadata, model)
    validate(network)
    return network


def _converted_network(metadata: Mapping[str, Any], model: ModelProto) -> SpikingNetwork:
    code = SpikeCode(tuple(integer(weight) for weight in metadata['code']['tau']),
                     integer(metadata['code']['burst']))
    if code.max_level > 1 << 16:
        raise NetworkError('spike code', f'Q = {code.max_level} is out of any range')
    height, width = (integer(side) for side in metadata['input_size'])
    # Files of release 0.1 know neither slopes nor dynamics.
    dynamics = metadata.get('dynamics', 'separated')
    layers = read_layers(
        model.graph, code=code, dynamics=dynamics, steps=metadata['steps'],
        slopes=metadata.get('slopes', {}), initial_membrane=metadata['initial_membrane'])
    return SpikingNetwork(
        name=str(metadata['name']),
        code=code,
        initial_membrane=metadata['initial_membrane'],
        input_size=(height, width),
        layers=layers,
        outputs=tuple(output.name.removesuffix(VALUE_SUFFIX) for output in model.graph.output),
        head=from_entry(metadata['head']),
        class_names=tuple(str(name) for name in metadata['class_names']),
        firing_rates={str(name): float(rate)
                      for name, rate in metadata['firing_rates'].items()},
        provenance={str(key): str(value) for key, value in metadata['provenance'].items()},
        dynamics=dynamics,
    )
