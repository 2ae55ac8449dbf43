"""The wheel works from an empty folder, without the checkout, and as a package of MIM.

The variable WHEEL names a wheel to test; without it, the tests build one. `make release-check` sets it.
"""

import os
import os.path as osp
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT

SHIPPED = ('configs', 'tools', 'checkpoints', 'model-index.yml')
STUDENT = 'pspnet_r18w8_1xb8-600_synthetic-112x112.py'
SHORT = [
    'train_cfg.max_iters=1',
    'train_cfg.val_interval=9',
    'train_dataloader.batch_size=2',
    'test_dataloader.dataset.num_scenes=2',
]


def tracked(*paths: str) -> list:
    """The files of the repository, as Git lists them."""
    if not osp.exists(osp.join(ROOT, '.git')):
        pytest.skip('needs a checkout')
    done = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard', '-z', *paths], cwd=ROOT, capture_output=True
    )
    names = [os.fsdecode(name) for name in done.stdout.split(b'\0') if name]
    return [name for name in names if osp.isfile(osp.join(ROOT, name))]


@pytest.fixture(scope='session')
def wheel(tmp_path_factory) -> str:
    if os.environ.get('WHEEL'):
        return os.environ['WHEEL']
    source, out = (tmp_path_factory.mktemp(name) for name in ('source', 'dist'))
    for name in tracked(*SHIPPED, 'mmseg_bpkd', ':(glob)*'):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(osp.join(ROOT, name), source / name)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', out, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(next(out.glob('*.whl')))


def test_the_wheel_holds_every_config_tool_and_checkpoint(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (top_level,) = (name for name in names if name.endswith('/top_level.txt'))
        assert archive.read(top_level).decode().split() == ['mmseg_bpkd']
        scripts = [name for name in names if name.endswith('.sh')]
        assert len(scripts) == 5 and all(archive.getinfo(name).external_attr >> 16 & 0o111 for name in scripts)
    prefix = 'mmseg_bpkd/.mim/'
    shipped = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    assert shipped == set(tracked(*SHIPPED)) and len(shipped) > 200
    assert {name for name in names if name.startswith('mmseg_bpkd/') and not name.startswith(prefix)} == set(
        tracked('mmseg_bpkd')
    )


@pytest.mark.slow
def test_an_unpacked_wheel_finds_its_own_files(wheel, tmp_path):
    """In a process that imports it in place of the checkout, from an empty folder."""
    site, empty = tmp_path / 'site', tmp_path / 'empty'
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (empty / 'own.py').write_text(f"_base_ = 'mmseg_bpkd::pspnet/{STUDENT}'")
    code = f"""
import mmseg_bpkd
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from mmseg_bpkd.fileio.package_files import find_checkpoint, load_config_file
mim = {str(site / 'mmseg_bpkd/.mim')!r}
assert mmseg_bpkd.__file__.startswith({str(site)!r})
own, named = Config.fromfile('own.py'), load_config_file('mmseg_bpkd::pspnet/{STUDENT}')
assert own.to_dict() == named.to_dict() == get_config('mmseg_bpkd::pspnet/{STUDENT}').to_dict()
assert named.filename == f'{{mim}}/configs/pspnet/{STUDENT}'
init_default_scope('mmseg')
MODELS.build(own.model)
teacher = 'checkpoints/deeplabv3plus_r18w32_camvid.pth'
assert find_checkpoint(teacher) == f'{{mim}}/{{teacher}}'
print('found')"""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=empty,
        env=dict(os.environ, PYTHONPATH=str(site)),
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith('found\n'), done.stderr[-2000:]


@pytest.fixture(scope='module')
def fresh(wheel, tmp_path_factory):
    """A function that runs a command of a new environment, which has the wheel and MIM, in an empty folder."""
    environment, folder = (tmp_path_factory.mktemp(name) for name in ('environment', 'empty'))
    subprocess.run([sys.executable, '-m', 'venv', environment], check=True)
    variables = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'CAMVID')}
    variables.update(PATH=f'{environment}/bin:{os.environ["PATH"]}', OMP_NUM_THREADS='1')

    def run(*command, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [str(part) for part in command], cwd=folder, env=variables, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, f'{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
        return done

    run('pip', 'install', '-c', osp.join(ROOT, 'requirements.txt'), f'{wheel}[lite]', 'openmim')
    return run


@pytest.mark.slow
def test_the_demo_runs_from_an_empty_folder(fresh):
    assert fresh('python', '-c', 'import mmseg_bpkd; print(mmseg_bpkd.__file__)').stdout.count('site-packages') == 1
    assert re.search(r'\| student, BPKD +\| +\d', fresh('bpkd', 'demo', '--iterations', 1).stdout)


@pytest.mark.slow
def test_a_recipe_is_trained_tested_and_exported_by_its_name_in_the_package(fresh):
    base = 'mmseg_bpkd::pspnet/' + STUDENT
    fresh('bpkd', 'train', base, '--cfg-options', *SHORT)
    checkpoint = f'work_dirs/{osp.splitext(STUDENT)[0]}/iter_1.pth'
    fresh('bpkd', 'test', base, checkpoint, '--out', 'results.json', '--cfg-options', *SHORT)
    fresh('bpkd', 'export', base, checkpoint, 'student.pth')
    fresh(
        'python',
        '-c',
        "import mmseg_bpkd; from mmseg.apis import init_model; init_model('student.py', 'student.pth', device='cpu')",
    )
    fresh('bpkd', 'complexity', base, '--runs', 0)

    code = """
import cv2, os
from mmseg_bpkd.datasets.synthetic import render_scene
os.makedirs('photos')
for i in range(2):
    cv2.imwrite(f'photos/{i}.png', render_scene('val', i, (160, 120))[0])"""
    fresh('python', '-c', 'import mmseg_bpkd' + code)
    done = fresh('bpkd', 'predict', 'student.py', 'student.pth', 'photos', '--out', 'predictions')
    assert 'wrote the predictions of 2 images to predictions' in done.stdout
    code = "import cv2; print([cv2.imread(f'predictions/labels/{i}.png', -1).shape for i in range(2)])"
    assert fresh('python', '-c', code).stdout.strip() == '[(120, 160), (120, 160)]'


@pytest.mark.slow
def test_onnx_files_need_the_extra_that_the_error_names(fresh, wheel):
    base = 'mmseg_bpkd::pspnet/' + STUDENT
    work_dir = ['--work-dir', 'exported']
    fresh('bpkd', 'train', base, *work_dir, '--cfg-options', *SHORT)
    export = ['bpkd', 'export', base, 'exported/iter_1.pth', 'student.onnx', '--format', 'onnx', '--size', 120, 160]
    done = fresh(*export, check=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith("pip install 'mmseg-bpkd[onnx]'")
    fresh('pip', 'install', '-c', osp.join(ROOT, 'requirements.txt'), f'{wheel}[onnx]')
    assert 'wrote student.onnx' in fresh(*export).stdout
    fresh('bpkd', 'test', base, 'student.onnx', *work_dir, '--cfg-options', *SHORT)


@pytest.mark.slow
def test_data_that_is_not_there_is_named(fresh):
    recipe = 'mmseg_bpkd::bpkd/bpkd_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py'
    done = fresh('bpkd', 'train', recipe, check=False)
    assert done.returncode and "data_root is 'data/camvid', which is not a folder" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_mim_lists_and_searches_the_package(fresh):
    assert re.search(r'^mmseg-bpkd +\d', fresh('mim', 'list').stdout, re.MULTILINE)
    found = fresh('mim', 'search', 'mmseg_bpkd', '--model', 'bpkd', '--field', 'training_data').stdout
    assert 'bpkd_pspnet-r101_pspnet-r18_4xb4-80k_cityscapes-512x1024' in re.sub(r'\s', '', found)


@pytest.mark.slow
def test_mim_trains_tests_and_runs_tools(fresh):
    work_dir = ['--work-dir', 'mim']
    fresh('mim', 'train', 'mmseg_bpkd', STUDENT, *work_dir, '--cfg-options', *SHORT)
    fresh('mim', 'test', 'mmseg_bpkd', STUDENT, '--checkpoint', 'mim/iter_1.pth', *work_dir, '--cfg-options', *SHORT)
    done = fresh('mim', 'run', 'mmseg_bpkd', 'check_dataset', 'mmseg_bpkd::pspnet/' + STUDENT, '--samples', 0)
    assert 'no problems found' in done.stdout


@pytest.mark.slow
def test_mmsegmentations_own_tool_trains_a_config_of_the_package(fresh):
    """The config names its bases by relative paths, and imports the package after them."""
    code = (
        f"from mmseg_bpkd.fileio.package_files import find_config; print(find_config('mmseg_bpkd::pspnet/{STUDENT}'))"
    )
    config = fresh('python', '-W', 'ignore', '-c', code).stdout.strip()
    fresh('mim', 'train', 'mmsegmentation', config, '--work-dir', 'plain', '--cfg-options', *SHORT)
