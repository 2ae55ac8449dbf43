"""pip install -e .[lite,test]: the extra `lite` brings mmcv-lite; without it, bring an mmcv 2.1.0 with operators."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name='mmseg-bpkd',
    version=re.search(r"__version__ = '(.+)'", (HERE / 'mmseg_bpkd/__init__.py').read_text())[1],
    description='Boundary-privileged knowledge distillation for MMSegmentation and MMRazor',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmseg_bpkd', 'mmseg_bpkd.*']),
    python_requires='>=3.11',
    install_requires=[
        'torch>=2.1',
        'mmengine>=0.10.7,<1.0',
        'mmsegmentation>=1.2.2,<1.3',
        'mmrazor==1.0.0',
        'setuptools<81',  # mmengine imports pkg_resources
        'ftfy',  # these three are imported, but not declared, by mmsegmentation and mmrazor
        'regex',
        'joblib',
    ],
    # mmcv and mmcv-lite own the same folder, so neither may be required unconditionally.
    extras_require={
        'lite': ['mmcv-lite==2.1.0'],
        'test': ['pytest', 'pytest-xdist', 'ruff'],
    },
)
