"""Puts the configs, tools and checkpoints into a wheel, as mmseg_bpkd/.mim. pyproject.toml describes the rest.

MIM and MMEngine look for them there. A source archive has them where the repository has them (MANIFEST.in), and an
editable install uses those of the checkout.
"""

import os.path as osp
from glob import glob

from setuptools import setup
from setuptools.command.build_py import build_py

MIM_FILES = (
    'model-index.yml',
    'configs/**/*.py',
    'configs/**/*.txt',
    'configs/**/*.yaml',
    'tools/**/*.py',
    'tools/**/*.sh',
    'checkpoints/*',
)


class BuildWithMimFiles(build_py):
    """Setuptools' `build_py`, which also copies the files of `MIM_FILES`."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for target, source in self.mim_files().items():
                self.mkpath(osp.dirname(target))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list:
        return super().get_outputs(include_bytecode) + ([] if self.editable_mode else list(self.mim_files()))

    def mim_files(self) -> dict:
        """Returns {path in the build folder: path in the source tree}."""
        sources = [path for pattern in MIM_FILES for path in sorted(glob(pattern, recursive=True))]
        return {osp.join(self.build_lib, 'mmseg_bpkd', '.mim', source): source for source in sources}


setup(cmdclass=dict(build_py=BuildWithMimFiles))
