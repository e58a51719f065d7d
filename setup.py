# SPDX-License-Identifier: Apache-2.0
"""Install the package: as an ament_python package with colcon, or with pip."""

from glob import glob

from setuptools import Extension, find_packages, setup

NAME = 'snn_detector_ros'

setup(
    name=NAME,
    version='0.1.0',
    description='Real-time object detection on ROS 2 with spiking neural networks',
    license='Apache-2.0',
    maintainer='snn_detector_ros developers',
    maintainer_email='snn-detector-ros@users.noreply.github.com',
    python_requires='>=3.10',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed', 'engines/cuda/*.cu']},
    # Loops over pixels, levels and events; without a compiler the package falls back to numpy.
    ext_modules=[
        Extension(f'{NAME}.{module}', [f'{NAME}/{module}.c'], extra_compile_args=['-O3'],
                  optional=True)
        for module in ('_native', '_events')],
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', glob('launch/*.launch.py')),
        (f'share/{NAME}/config', glob('config/*')),
        (f'share/{NAME}/rviz', glob('rviz/*')),
        (f'share/{NAME}/models', glob('models/*.onnx') + glob('models/*.md')),
    ],
    install_requires=[
        'numpy', 'onnx', 'onnxruntime', 'opencv-python-headless', 'pyyaml', 'tqdm'],
    extras_require={
        'eval': ['faster-coco-eval', 'matplotlib'],
        'train': ['faster-coco-eval', 'safetensors', 'torch'],
        'gpu': ['cuda-bindings', 'triton'],
        'replay': ['rosbags'],
        'bench': ['openvino', 'spikingjelly'],
    },
    entry_points={'console_scripts': [
        f'snn-detector = {NAME}.cli.main:main',
        f'detector_node = {NAME}.ros.programs:detector_node',
        f'player_node = {NAME}.ros.programs:player_node',
    ]},
    zip_safe=False,
)
