"""The command-line tools, called as users call them."""

import json
import os
import os.path as osp
import re
import socket
import subprocess
from unittest import mock

import cv2
import numpy as np
import pytest
import runs
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS

from mmseg_bpkd.datasets.check.roots import check_data_roots
from mmseg_bpkd.datasets.synthetic import render_scene
from mmseg_bpkd.deploy.student import export_student
from mmseg_bpkd.engine.devices import end_process_group
from mmseg_bpkd.engine.hooks import DrawPredictionsHook
from mmseg_bpkd.engine.train import warn_of_another_batch_size
from mmseg_bpkd.evaluation import evaluate as evaluate_module
from mmseg_bpkd.evaluation.evaluate import evaluate
from mmseg_bpkd.evaluation.metrics import load_counts


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A distillation of two steps: its config, and the folder with run/iter_2.pth."""
    folder = tmp_path_factory.mktemp('trained')
    config = runs.write_config(folder, 2)
    runs.call('train.py', config, '--work-dir', folder / 'run')
    return config, folder


@pytest.fixture(scope='module')
def exported(trained):
    config, folder = trained
    runs.call('export_student.py', config, folder / 'run/iter_2.pth', folder / 'student.pth')
    return folder / 'student.py', folder / 'student.pth'


@pytest.fixture(scope='module')
def tested(trained) -> dict:
    config, folder = trained
    runs.call(
        'test.py',
        config,
        folder / 'run/iter_2.pth',
        '--out',
        folder / 'results.json',
        '--per-image',
        folder / 'counts.npz',
        '--show-dir',
        folder / 'pictures',
        '--work-dir',
        folder / 'test',
    )
    return json.load(open(folder / 'results.json'))


@pytest.mark.slow
def test_testing_writes_every_metric_and_every_class(tested):
    assert list(tested['metrics'])[:9] == [
        'aAcc',
        'mIoU',
        'mAcc',
        'trimap/aAcc@3px',
        'trimap/mIoU@3px',
        'trimap/mAcc@3px',
        'boundary/aAcc@0.005diag',
        'boundary/mIoU@0.005diag',
        'boundary/mAcc@0.005diag',
    ]
    for mean, each in (
        ('mIoU', 'IoU'),
        ('trimap/mIoU@3px', 'trimap/IoU@3px'),
        ('boundary/mAcc@0.005diag', 'boundary/Acc@0.005diag'),
    ):
        values = [value for value in tested['per_class'][each].values() if value is not None]
        assert len(tested['per_class'][each]) == 9
        assert np.mean(values) == pytest.approx(tested['metrics'][mean], abs=0.02)


def test_testing_writes_the_counts_of_each_image(trained, tested):
    counts = load_counts(trained[1] / 'counts.npz')
    assert counts.pop('images').tolist() == [f'val_{i:05d}.png' for i in range(5)]
    assert list(counts) == ['mIoU', 'trimap/mIoU@3px', 'boundary/mIoU@0.005diag']
    for name, of_images in counts.items():
        intersection, predicted, labeled = of_images.sum(0)
        iou = 100 * intersection / (predicted + labeled - intersection)
        assert iou.tolist() == pytest.approx(list(tested['per_class'][name.replace('mIoU', 'IoU')].values()), abs=0.01)
    assert (counts['mIoU'][:, 2].sum(1) == 160 * 120).all()  # every pixel of an image without void


def test_another_batch_size_than_the_recipes_is_warned_of(trained):
    _, folder = trained
    log = next((folder / 'run').glob('*/*.log')).read_text()
    assert 'the batch is 2 (1 processes x 2 images), but the learning rate is for 8' in log


@pytest.mark.parametrize(
    ('batch_size', 'world_size', 'counts', 'warns'),
    [(4, 4, 1, False), (4, 2, 1, True), (2, 4, 2, False), (4, 4, 2, True), (1, 64, 1, True)],
)
def test_the_batch_of_all_processes_and_accumulated_steps_counts(batch_size, world_size, counts, warns):
    cfg = Config(
        dict(
            auto_scale_lr=dict(enable=False, base_batch_size=16),
            train_dataloader=dict(batch_size=batch_size),
            optim_wrapper=dict(accumulative_counts=counts),
        )
    )
    runner = mock.Mock(cfg=cfg, world_size=world_size)
    warn_of_another_batch_size(runner)
    assert runner.logger.warning.called == warns
    cfg.auto_scale_lr.enable = True
    runner.logger.reset_mock()
    warn_of_another_batch_size(runner)
    assert not runner.logger.warning.called


@pytest.mark.slow
def test_the_learning_rate_is_scaled_to_the_batch_when_asked(trained):
    config, folder = trained
    runs.call(
        'train.py',
        config,
        '--work-dir',
        folder / 'scaled',
        '--auto-scale-lr',
        '--cfg-options',
        'optim_wrapper.accumulative_counts=2',
    )
    for run, rate in (('run', 0.04), ('scaled', 0.04 * 2 * 2 / 8)):
        log = next((folder / run).glob('*/vis_data/scalars.json')).read_text().splitlines()
        assert json.loads(log[0])['lr'] == pytest.approx(rate)
    assert 'the batch is' not in next((folder / 'scaled').glob('*/*.log')).read_text()


def test_testing_draws_every_prediction(trained, tested):
    pictures = [file for _, _, files in os.walk(trained[1] / 'pictures') for file in files if file.endswith('.png')]
    assert len(pictures) == 5


def test_testing_leaves_the_config_beside_the_training_alone(trained, tested):
    _, folder = trained
    assert Config.fromfile(folder / 'run/config.py').model.type == 'SegDistill'


@pytest.mark.slow
@pytest.mark.parametrize('with_config', ['the distillation config', 'its own config'])
def test_an_exported_student_has_the_metrics_of_the_distilled_one(trained, exported, tested, with_config):
    config, folder = trained
    plain, checkpoint = exported
    runs.call(
        'test.py',
        config if 'distillation' in with_config else plain,
        checkpoint,
        '--out',
        folder / 'again.json',
        '--work-dir',
        folder / 'test',
    )
    again = json.load(open(folder / 'again.json'))
    times = ('time', 'data_time')
    assert {k: v for k, v in again['metrics'].items() if k not in times} == {
        k: v for k, v in tested['metrics'].items() if k not in times
    }


@pytest.mark.slow
def test_an_onnx_file_has_the_metrics_of_the_student_and_predicts_images(trained, tmp_path):
    pytest.importorskip('onnxruntime', reason="ONNX files need the packages of pip install 'mmseg-bpkd[onnx]'")
    config, folder = trained
    onnx = tmp_path / 'student.onnx'
    options = ['--format', 'onnx', '--size', 120, 160, '--check-data']
    done = runs.call('export_student.py', config, folder / 'run/iter_2.pth', onnx, *options)
    values = re.findall(r'^([\w/@.]+): ([\d.]+) in PyTorch, ([\d.]+) with the ONNX file', done.stdout, re.MULTILINE)
    assert {'mIoU', 'trimap/mIoU@3px', 'boundary/mIoU@0.005diag'} <= {name for name, *_ in values}
    assert all(abs(float(of_torch) - float(of_onnx)) <= 0.01 for _, of_torch, of_onnx in values)
    photos = tmp_path / 'photos'
    photos.mkdir()
    for i in range(2):
        image, _ = render_scene('val', i, (160, 120))
        cv2.imwrite(str(photos / f'{i}.png'), image)
    beside = ['--beside', config, folder / 'run/iter_2.pth']
    done = runs.call('predict.py', config, onnx, photos, '--out', tmp_path / 'out', *beside)
    assert 'wrote the predictions of 2 images' in done.stdout and 'pixels that differ at boundaries' in done.stdout
    assert cv2.imread(str(tmp_path / 'out/labels/1.png'), cv2.IMREAD_UNCHANGED).shape == (120, 160)
    assert cv2.imread(str(tmp_path / 'out/compared/0.png')).shape == (144, 4 * 160, 3)


def test_a_difference_between_onnx_file_and_checkpoint_is_an_error(monkeypatch):
    metrics = {'a.pth': {'mIoU': 50.0, 'time': 1.0}, 'a.onnx': {'mIoU': 50.02, 'time': 2.0}}
    monkeypatch.setattr(evaluate_module, 'evaluate', lambda cfg, path: dict(metrics=metrics[path]))
    with pytest.raises(ValueError, match='mIoU is 50.0 in PyTorch but 50.02 with a.onnx'):
        evaluate_module.compare_with_onnx(Config(), 'a.pth', 'a.onnx')
    assert evaluate_module.compare_with_onnx(Config(), 'a.pth', 'a.onnx', tolerance=0.1) == {'mIoU': (50.0, 50.02)}
    metrics.update({'b.pth': {'mIoU': 33.33}, 'b.onnx': {'mIoU': 33.34}})  # 33.34 - 33.33 > 0.01
    assert evaluate_module.compare_with_onnx(Config(), 'b.pth', 'b.onnx') == {'mIoU': (33.33, 33.34)}


def test_a_metric_that_is_nan_with_both_is_no_difference(monkeypatch):
    nan = float('nan')
    metrics = {'a.pth': {'mAcc': nan}, 'a.onnx': {'mAcc': nan}, 'b.onnx': {'mAcc': 50.0}}
    monkeypatch.setattr(evaluate_module, 'evaluate', lambda cfg, path: dict(metrics=metrics[path]))
    assert list(evaluate_module.compare_with_onnx(Config(), 'a.pth', 'a.onnx')) == ['mAcc']
    with pytest.raises(ValueError, match='mAcc is nan in PyTorch but 50.0 with b.onnx'):
        evaluate_module.compare_with_onnx(Config(), 'a.pth', 'b.onnx')


@pytest.mark.parametrize('by', ['name', 'class'])
def test_a_subclass_of_seg_distill_is_tested_and_exported(trained, exported, tested, by, tmp_path, monkeypatch):
    config, folder = trained
    subclass = type('RegisteredSubclass', (tiny.SegDistill,), {})
    monkeypatch.setitem(MODELS._module_dict, 'RegisteredSubclass', subclass)
    cfg = Config.fromfile(config)
    cfg.model.type = 'RegisteredSubclass' if by == 'name' else subclass
    cfg.work_dir = str(tmp_path)
    checkpoint = str(folder / 'run/iter_2.pth')
    written = export_student(cfg, checkpoint, str(tmp_path / 'student.pth'))
    assert Config.fromfile(written).model == Config.fromfile(exported[0]).model
    assert runs.same(runs.student(tmp_path / 'student.pth'), runs.student(exported[1]))
    assert evaluate(cfg, checkpoint)['per_class'] == tested['per_class']


def test_an_exported_checkpoint_has_the_ending_pth(trained, tmp_path):
    config, folder = trained
    with pytest.raises(ValueError, match=r'must be named \*\.pth or \*\.safetensors, got .*x\.pt$'):
        export_student(Config.fromfile(config), str(folder / 'run/iter_2.pth'), str(tmp_path / 'x.pt'))
    assert not os.listdir(tmp_path)


def test_mmseg_loads_the_exported_student_and_it_gives_exactly_the_distilled_ones_logits(trained, exported):
    from mmseg.apis import init_model

    config, folder = trained
    model = init_model(str(exported[0]), str(exported[1]), device='cpu')
    assert type(model).__module__.startswith('mmseg.') and model.dataset_meta['classes'][1] == 'ground'
    assert len(model.dataset_meta['palette']) == 9
    cfg = Config.fromfile(config)
    distilled = tiny.SegDistill(**{k: v for k, v in cfg.model.items() if k != 'type'})
    distilled.load_state_dict(torch.load(folder / 'run/iter_2.pth')['state_dict'], strict=True)
    image = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        assert torch.equal(model(image, mode='tensor'), distilled.eval()(image, mode='tensor'))


def test_the_exported_checkpoint_is_plain_data_with_mmsegs_names(exported):
    state = torch.load(exported[1])['state_dict']
    assert {key.split('.')[0] for key in state} == {'backbone', 'decode_head', 'auxiliary_head'}
    assert 'SegDistill' not in open(exported[0]).read() and 'LoadCheckedAnnotations' not in open(exported[0]).read()


def test_a_plain_mmseg_state_dict_loads_strictly_into_the_exported_student():
    from mmseg.apis import init_model

    cfg = Config.fromfile(osp.join(ROOT, 'configs/bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_cityscapes-512x1024.py'))
    from mmseg_bpkd.models.roles import student_config

    student = init_model(Config(dict(model=student_config(cfg.model))), device='cpu')
    stock = Config.fromfile(
        osp.join(
            osp.dirname(__import__('mmseg').__file__),
            '.mim/configs',
            'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        )
    )
    stock.model.pretrained = None
    student.load_state_dict(MODELS.build(stock.model).state_dict(), strict=True)


@pytest.mark.slow
def test_half_precision_halves_the_file(trained, exported):
    config, folder = trained
    runs.call('export_student.py', config, folder / 'run/iter_2.pth', folder / 'half.pth', '--half')
    state, half = torch.load(exported[1])['state_dict'], torch.load(folder / 'half.pth')['state_dict']
    assert all(half[k].dtype == (torch.float16 if v.is_floating_point() else v.dtype) for k, v in state.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ('tool', 'arguments', 'message'),
    [
        (
            'export_student.py',
            ['{config}', '{teacher}', '{folder}/x.pth'],
            'is not a checkpoint of this EncoderDecoder',
        ),
        ('export_student.py', ['{config}', '{folder}/nowhere.pth', '{folder}/x.pth'], 'no checkpoint .*nowhere.pth'),
        ('export_student.py', ['{config}', '{folder}/run/iter_2.pth', '{folder}/x.pt'], r'must be named \*\.pth'),
        ('test.py', ['{config}', '{teacher}'], 'is not a checkpoint of this EncoderDecoder'),
        ('test.py', ['nowhere.py', '{teacher}'], 'no config nowhere.py'),
        (
            'train.py',
            [
                osp.join(ROOT, 'configs/cwd/cwd_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py'),
                '--cfg-options',
                'train_dataloader.dataset.data_root=data/not-there',
            ],
            "train_dataloader.dataset.data_root is 'data/not-there', which is not a folder",
        ),
        (
            'train.py',
            ['{config}', '--cfg-options', 'model.distiller.losses.loss_bpkd.type=BPKLoss'],
            "no class 'BPKLoss'",
        ),
        ('train.py', ['{config}', '--cfg-options', 'model.distiller.losses.loss_bpkd.edge=1'], "argument 'edge'"),
        ('train.py', ['{config}', '--cfg-options', 'model.teacher_ckpt=None'], 'set model.teacher_ckpt'),
    ],
)
def test_bad_input_ends_with_one_clear_line(trained, tool, arguments, message):
    config, folder = trained
    filled = [argument.format(config=config, folder=folder, teacher=folder / 'teacher.pth') for argument in arguments]
    extra = ['--work-dir', folder / 'bad'] if tool != 'export_student.py' else []
    done = runs.call(tool, *filled, *extra, check=False)
    assert done.returncode
    assert re.search(message, done.stderr.strip().splitlines()[-1]), done.stderr[-2000:]
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_pictures_are_refused_if_several_processes_test(trained, monkeypatch):
    config, folder = trained
    monkeypatch.setitem(runs.ENVIRONMENT, 'WORLD_SIZE', '2')
    arguments = (config, folder / 'teacher.pth', '--show-dir', folder / 'pictures', '--launcher', 'pytorch')
    done = runs.call('test.py', *arguments, check=False)
    assert done.returncode and done.stderr.strip().endswith('of the first process only: test with one process')


def test_pictures_of_images_with_the_same_name_have_different_names():
    hook = DrawPredictionsHook()
    paths = ['data/a/1.png', 'data/b/1.png', 'other/b/1.png', 'data/a/1.png', 'data/b/1.png', '2.png']
    names = [hook._name(path) for path in paths]
    assert names == ['1.png', 'b_1.png', 'other_b_1.png', '1.png', 'b_1.png', '2.png']


@pytest.mark.parametrize(
    ('layout', 'message'),
    [
        ([], "data_root is '.*camvid', which is not a folder"),
        (['images'], "data_prefix.img_path is '.*images/train', which is not a folder"),
        (['images/train'], "data_prefix.img_path is '.*images/train', which is an empty folder"),
        (['images/train/x', 'annotations'], "data_prefix.seg_map_path is '.*annotations/train', which is not a folder"),
    ],
)
def test_a_folder_of_the_data_that_is_not_there_is_named(tmp_path, layout, message):
    for folder in layout:
        (tmp_path / 'camvid' / folder).mkdir(parents=True)
    cfg = Config.fromfile(osp.join(ROOT, 'configs/_base_/datasets/camvid_360x360.py'))
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'camvid')
    with pytest.raises(FileNotFoundError, match=message):
        check_data_roots(cfg, 'train_dataloader')


def free_port() -> int:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def shell(*args, **environment) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(arg) for arg in args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**runs.ENVIRONMENT, 'PORT': str(free_port()), **environment},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_two_processes_train_resume_and_test(trained, tested):
    """With torchrun and gloo on the CPU. One process and two processes give the same test results."""
    config, folder = trained
    two, stopped = folder / 'two', folder / 'stopped'
    shell('tools/dist_train.sh', config, 2, '--work-dir', two)
    state = runs.student(two / 'iter_2.pth')
    assert all(key.startswith('architecture.') for key in state)
    stop = ['--cfg-options', 'train_cfg.max_iters=1', 'default_hooks.checkpoint.interval=1']
    shell('tools/dist_train.sh', config, 2, '--work-dir', stopped, *stop)
    shell('tools/dist_train.sh', config, 2, '--work-dir', stopped, '--resume', 'auto')
    assert runs.same(runs.student(stopped / 'iter_2.pth'), state)
    shell('tools/test.sh', config, folder / 'run/iter_2.pth', 2, '--out', folder / 'two.json', '--work-dir', two)
    assert json.load(open(folder / 'two.json'))['per_class'] == tested['per_class']
    shell('tools/test.sh', config, folder / 'run/iter_2.pth', '--out', folder / 'new/one.json', '--work-dir', two)
    assert json.load(open(folder / 'new/one.json'))['per_class'] == tested['per_class']


def test_a_process_group_is_ended_and_none_is_no_error(tmp_path):
    """Otherwise gloo's threads sometimes outlive Python and abort a run that was complete."""
    end_process_group()
    torch.distributed.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    end_process_group()
    assert not torch.distributed.is_initialized()


def test_scripts_say_how_they_are_called():
    for script in ('dist_train.sh', 'dist_test.sh', 'test.sh', 'slurm_train.sh', 'slurm_test.sh'):
        done = subprocess.run([osp.join(ROOT, 'tools', script)], capture_output=True, text=True)
        assert done.returncode == 2 and script in done.stdout and 'CONFIG' in done.stdout


def test_the_commands_that_tools_and_readme_name_exist():
    texts = [
        re.sub(r'https?://\S+', '', open(osp.join(ROOT, path)).read())  # paths in other repositories
        for path in (
            'README.md',
            'tools/train.py',
            'tools/test.py',
            'tools/export_student.py',
            'tools/demo.py',
            'tools/dataset_converters/camvid.py',
            'benchmarks/benchmark.py',
            'experiments/camvid_stride4/grid.py',
            'docs/methods.md',
        )
    ]
    named = {path for text in texts for path in re.findall(r'(?:configs|tools|experiments)/[\w./-]+\.(?:py|sh)', text)}
    assert len(named) > 10 and not [path for path in named if not osp.isfile(osp.join(ROOT, path))]


@pytest.mark.slow
def test_the_demo_runs_twice_and_refuses_to_mix_settings(tmp_path):
    first = runs.call('demo.py', '--iterations', 2, '--work-dir', tmp_path)
    assert re.search(r'\| student, BPKD +\| +\d', first.stdout) and osp.isfile(tmp_path / 'comparison.png')
    os.remove(tmp_path / 'comparison.png')
    os.remove(tmp_path / 'bpkd.json')
    again = runs.call('demo.py', '--iterations', 2, '--work-dir', tmp_path)
    assert osp.isfile(tmp_path / 'comparison.png') and again.stdout.count('| student') == 4
    other = runs.call('demo.py', '--iterations', 3, '--work-dir', tmp_path, check=False)
    assert other.returncode and "holds a demo with {'data': None, 'iterations': 2, 'seed': 0}" in other.stderr


@pytest.mark.slow
def test_a_mistake_in_the_arguments_of_the_demo_claims_no_folder(tmp_path):
    done = runs.call('demo.py', '--data', tmp_path / 'camvd', '--work-dir', tmp_path / 'demo', check=False)
    assert done.returncode and re.fullmatch('error: --data .*camvd: no such folder; .*', done.stderr.strip())
    done = runs.call('demo.py', '--iterations', 0, '--work-dir', tmp_path / 'demo', check=False)
    assert done.returncode and '--iterations must be at least 1, got 0' in done.stderr
    assert not osp.exists(tmp_path / 'demo')


@pytest.mark.parametrize(
    ('script', 'arguments'), [('dist_train.sh', ['c.py', '2']), ('dist_test.sh', ['c.py', 'x', '2'])]
)
def test_an_error_is_repeated_after_the_report_of_torchrun(script, arguments, tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "error: a typo" > "$MMSEG_BPKD_ERROR_FILE"\necho report >&2\nexit 3\n')
    python.chmod(0o755)
    environment = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', TMPDIR=str(tmp_path))
    done = subprocess.run(
        [osp.join(ROOT, 'tools', script), *arguments], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (3, 'report\nerror: a typo\n')
    assert os.listdir(tmp_path) == ['python']


def test_slurm_scripts_hand_everything_to_srun(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}:{runs.ENVIRONMENT["PATH"]}'
    train = shell('tools/slurm_train.sh', 'gpu', 'job', 'c.py', '--amp', PATH=path, GPUS='16').stdout
    assert '-p gpu --job-name=job --gres=gpu:8 --ntasks=16 --ntasks-per-node=8' in train
    assert train.strip().endswith('tools/train.py c.py --launcher slurm --amp')
    test = shell('tools/slurm_test.sh', 'gpu', 'job', 'c.py', 'x.pth', PATH=path).stdout
    assert test.strip().endswith('tools/test.py c.py x.pth --launcher slurm')


@pytest.mark.slow
def test_camvid_trains_tests_and_exports(camvid, tmp_path):
    """Runs every tool on real images, with the config of the CPU-size pair."""
    config = 'configs/bpkd/bpkd_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py'
    roots = [f'{loader}_dataloader.dataset.data_root={camvid}' for loader in ('train', 'val', 'test')]
    runs.call(
        'train.py',
        config,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *roots,
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=9',
        'train_dataloader.batch_size=2',
    )
    runs.call(
        'test.py',
        config,
        tmp_path / 'iter_1.pth',
        '--out',
        tmp_path / 'r.json',
        '--cfg-options',
        *roots,
        'test_dataloader.dataset.indices=4',
        '--work-dir',
        tmp_path,
    )
    assert list(json.load(open(tmp_path / 'r.json'))['per_class']['trimap/IoU@3px'])[2] == 'pole'
    runs.call('export_student.py', config, tmp_path / 'iter_1.pth', tmp_path / 's.pth')
    from mmseg.apis import inference_model, init_model

    model = init_model(str(tmp_path / 's.py'), str(tmp_path / 's.pth'), device='cpu')
    image = next(osp.join(camvid, 'images/val', file) for file in os.listdir(osp.join(camvid, 'images/val')))
    assert inference_model(model, image).pred_sem_seg.data.shape == (1, 360, 480)
