"""Exported ONNX files compute what PyTorch computes, for the sizes that they were exported for."""

import copy
import json
import os.path as osp
import re
import shutil
import sys

import cv2
import numpy as np
import pytest
import runs
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from torch import nn

from mmseg_bpkd.deploy import onnx as deploy
from mmseg_bpkd.deploy.predict import (
    AT_BOUNDARY,
    ELSEWHERE,
    Predictor,
    compare,
    count_images,
    images_of,
    side_by_side,
)
from mmseg_bpkd.evaluation.evaluate import evaluate

pytest.importorskip('onnxruntime', reason="ONNX files need the packages of pip install 'mmseg-bpkd[onnx]'")
pytest.importorskip('onnxscript', reason="ONNX files need the packages of pip install 'mmseg-bpkd[onnx]'")
if torch.__version__.startswith('2.6.'):
    pytest.skip('PyTorch 2.6 cannot export these networks', allow_module_level=True)
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@pytest.mark.parametrize('size', [(1, 1), (6, 6), (3, 2), (8, 5)])
def test_pooling_by_matrices_equals_adaptive_pooling(size):
    x = torch.randn(2, 3, 7, 11, dtype=torch.float64)
    torch.testing.assert_close(deploy.AdaptiveAveragePool(size)(x), nn.AdaptiveAvgPool2d(size)(x))


@pytest.mark.slow
def test_fast_scnn_is_exported_for_any_size(tmp_path):
    """Its backbone pools to fixed sizes and resizes one branch to another."""
    cfg = Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='plain_segmentor',
                cfg_path='mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py',
                backbone=dict(
                    downsample_dw_channels=(4, 6),
                    global_in_channels=8,
                    global_block_channels=(8, 12, 16),
                    global_out_channels=16,
                    higher_in_channels=8,
                    lower_in_channels=16,
                    fusion_out_channels=8,
                ),
                decode_head=dict(in_channels=8, channels=8),
                auxiliary_head=None,
                num_classes=3,
                data_preprocessor=tiny.PREPROCESSOR,
            ),
        )
    )
    model = deploy.load_segmentor(cfg, None, '')
    images = [torch.randn(2, 3, 120, 160), torch.randn(1, 3, 90, 74)]
    with torch.no_grad():
        expected = [model.encode_decode(image, [dict(img_shape=image.shape[2:])]) for image in images]
    deploy.write_onnx(model, str(tmp_path / 'any.onnx'), size=None)
    run = deploy.OnnxNetwork(str(tmp_path / 'any.onnx'))
    for image, logits in zip(images, expected):
        torch.testing.assert_close(run(image), logits, atol=1e-5 * float(logits.abs().max()), rtol=0)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """A PSPNet with random weights and batch norm statistics: config and checkpoint."""
    folder = tmp_path_factory.mktemp('plain')
    checkpoint = tiny.save_teacher(folder / 'plain.pth')
    cfg = Config(
        dict(
            default_scope='mmseg',
            model=dict(type='plain_segmentor', num_classes=3, data_preprocessor=tiny.PREPROCESSOR, **tiny.pspnet(8)),
            test_dataloader=dict(
                dataset=dict(
                    type='BaseSegDataset',
                    metainfo=dict(classes=('a', 'b', 'c'), palette=[[0, 0, 0], [255, 0, 0], [0, 0, 255]]),
                    pipeline=[dict(type=name) for name in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')],
                )
            ),
        )
    )
    model = deploy.load_segmentor(cfg, torch.load(checkpoint), checkpoint)
    with torch.no_grad():  # so that no class wins everywhere
        logits = deploy.Network(model)(torch.randn(1, 3, 40, 40))
    saved = torch.load(checkpoint)
    saved['state_dict']['decode_head.conv_seg.bias'] -= logits.mean((0, 2, 3))
    torch.save(saved, checkpoint)
    return cfg, checkpoint


@pytest.fixture(scope='module')
def exported(plain, tmp_path_factory):
    path = str(tmp_path_factory.mktemp('onnx') / 'any.onnx')
    assert deploy.export_onnx(*plain, path) < 1e-4
    return path


def bgr_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('extent', [(40, 72), (33, 50)])
def test_the_file_gives_the_logits_of_mmsegmentation_for_any_size(plain, exported, extent):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported)
    shapes = [value.shape for value in (*session.get_inputs(), *session.get_outputs())]
    assert shapes == [['batch', 3, 'height', 'width']] * 2
    meta = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert meta['classes'] == ['a', 'b', 'c'] and meta['bgr_to_rgb'] and meta['palette'][1] == [255, 0, 0]
    images = [bgr_image(*extent, seed) for seed in (1, 2)]
    normalized = [(image[..., ::-1] - np.array(meta['mean'])) / np.array(meta['std']) for image in images]
    (logits,) = session.run(['logits'], {'image': np.stack(normalized).transpose(0, 3, 1, 2).astype(np.float32)})

    model = deploy.load_segmentor(plain[0], torch.load(plain[1]), plain[1])
    for image, of_onnx in zip(images, logits):
        from mmseg.apis import inference_model

        model.cfg = Config(dict(test_pipeline=plain[0].test_dataloader.dataset.pipeline))
        expected = inference_model(model, image).seg_logits.data.numpy()
        np.testing.assert_allclose(of_onnx, expected, atol=1e-5 * np.abs(expected).max())


def test_the_example_of_the_docs_predicts_what_mmsegmentation_predicts(plain, exported, tmp_path, monkeypatch):
    from mmseg.apis import inference_model

    with open(osp.join(ROOT, 'docs/usage.md')) as file:
        (example,) = (
            block for block in re.findall(r'```python\n(.*?)```', file.read(), re.DOTALL) if 'onnxruntime' in block
        )
    assert len(example.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    shutil.copy(exported, 'student.onnx')
    cv2.imwrite('photo.png', bgr_image(37, 61))
    exec(example, {})
    model = deploy.load_segmentor(plain[0], torch.load(plain[1]), plain[1])
    model.cfg = Config(dict(test_pipeline=plain[0].test_dataloader.dataset.pipeline))
    expected = inference_model(model, bgr_image(37, 61)).pred_sem_seg.data[0].numpy()
    found = cv2.imread('labels.png', cv2.IMREAD_UNCHANGED)
    assert len(np.unique(expected)) > 1 and (found == expected).mean() > 0.999


def damaged_files(exported, folder):
    """Yields the names of files that are no ONNX files of an export, or were one."""
    import onnx

    with open(exported, 'rb') as file:
        content = file.read()
    contents = {'empty': b'', 'text': b'no model', 'half': content[: len(content) // 2], 'cut': content[:-30]}
    generator = np.random.default_rng(0)
    for i in range(20):  # near the start, where the nodes are, and anywhere
        flipped = bytearray(content)
        for place in generator.integers(0, 3000 if i % 2 else len(content), 5):
            flipped[place] ^= 1 << int(generator.integers(8))
        contents[f'flipped_{i}'] = bytes(flipped)
    for name, data in contents.items():
        (folder / f'{name}.onnx').write_bytes(data)
        yield str(folder / f'{name}.onnx'), name.startswith('flipped')
    for name in ('renamed', 'json', 'colors', 'nan', 'outside'):
        model = onnx.load(exported)
        meta = {entry.key: entry for entry in model.metadata_props}
        if name == 'renamed':
            model.graph.output[0].name = model.graph.node[-1].output[0] = 'other'
        elif name == 'json':
            meta['classes'].value = '[half'
        elif name == 'colors':
            meta['palette'].value = '[[0, 0, 0]]'
        else:
            weight = next(weight for weight in model.graph.initializer if len(weight.dims) == 4)
            weight.ClearField('raw_data')
            if name == 'nan':
                weight.raw_data = np.full(weight.dims, np.nan, np.float32).tobytes()
            else:
                weight.data_location = onnx.TensorProto.EXTERNAL
                weight.external_data.add(key='location', value='/etc/passwd')
        (folder / f'{name}.onnx').write_bytes(model.SerializeToString())
        yield str(folder / f'{name}.onnx'), False


def test_a_damaged_file_is_an_error_with_its_name(plain, exported, tmp_path):
    refused = 0
    for path, may_work in damaged_files(exported, tmp_path):
        try:
            labels = Predictor(plain[0], path)(bgr_image(40, 56))
        except ValueError as error:
            assert path in str(error) and '\n' not in str(error)
            refused += 1
        else:
            assert may_work and labels.shape == (40, 56)
    assert refused > 9


@pytest.mark.slow
@pytest.mark.parametrize('opset', [17, 20])
def test_pidnet_is_exported_for_any_size_that_it_accepts(tmp_path, opset):
    """It pools to one value, and one of its maps has 1/64 of the size."""
    cfg = Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='plain_segmentor',
                cfg_path='mmseg::pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py',
                backbone=dict(channels=8, ppm_channels=12),
                decode_head=dict(in_channels=32, channels=16),
                num_classes=3,
                data_preprocessor=tiny.PREPROCESSOR,
            ),
        )
    )
    model = deploy.load_segmentor(cfg, None, '')
    images = [torch.randn(2, 3, 64, 96), torch.randn(1, 3, 200, 320), torch.randn(1, 3, 32, 48)]
    with torch.no_grad():
        expected = [model.encode_decode(image, [dict(img_shape=image.shape[2:])]) for image in images]
    deploy.write_onnx(model, str(tmp_path / 'any.onnx'), None, 1e-3, opset=opset)
    run = deploy.OnnxNetwork(str(tmp_path / 'any.onnx'))
    for image, logits in zip(images, expected):
        torch.testing.assert_close(run(image), logits, atol=1e-3 * float(logits.abs().max()), rtol=0)


def test_the_file_holds_no_path_of_the_machine(exported):
    with open(exported, 'rb') as file:
        content = file.read()
    assert osp.dirname(deploy.__file__).encode() not in content and b'site-packages' not in content


def test_a_file_for_one_size_refuses_another(plain, tmp_path):
    """It has an older version of the operators, which PyTorch exports through a conversion."""
    import onnx

    path = str(tmp_path / 'fixed.onnx')
    assert deploy.export_onnx(*plain, path, size=(40, 56), opset=17) < 1e-4
    assert [(opset.domain, opset.version) for opset in onnx.load(path).opset_import] == [('', 17)]
    run = deploy.OnnxNetwork(path)
    assert run.dataset_meta['classes'] == ['a', 'b', 'c'] and len(run.preprocessing) == 3
    images = torch.randn(2, 3, 40, 56)
    torch.testing.assert_close(run(images), torch.cat([run(images[:1]), run(images[1:])]))
    with pytest.raises(ValueError, match=r'exported for inputs of \[1, 3, 40, 56\], but got \[1, 3, 40, 64\]'):
        run(torch.randn(1, 3, 40, 64))


def test_an_export_that_computes_something_else_is_refused(plain, tmp_path, monkeypatch):
    right = deploy.AdaptiveAveragePool.forward
    monkeypatch.setattr(deploy.AdaptiveAveragePool, 'forward', lambda self, x: 1.1 * right(self, x))
    with pytest.raises(ValueError, match='logits of the ONNX file differ from those of PyTorch'):
        deploy.export_onnx(*plain, str(tmp_path / 'x.onnx'), size=(32, 32))
    assert not list(tmp_path.iterdir())


def test_what_is_missing_or_misnamed_is_said(plain, exported, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r'must be named \*\.onnx'):
        deploy.export_onnx(*plain, 'student.pth')
    with pytest.raises(FileNotFoundError, match='no ONNX file'):
        deploy.OnnxNetwork(str(tmp_path / 'nowhere.onnx'))
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(ImportError, match=r"need onnx, onnxruntime, onnxscript; pip install 'mmseg-bpkd\[onnx\]'"):
        deploy.export_onnx(*plain, str(tmp_path / 'x.onnx'))
    deploy.OnnxNetwork(exported)  # running a file needs one package
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match=r"need onnxruntime; pip install 'mmseg-bpkd\[onnx\]'"):
        deploy.OnnxNetwork(exported)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(num_classes=4), 'num_classes 3 instead of 4'),
        (dict(data_preprocessor=dict(bgr_to_rgb=False)), 'bgr_to_rgb True instead of False'),
        (
            dict(data_preprocessor=dict(mean=(0, 0, 0), std=[1, 1, 1])),
            r'mean \[123.675, 116.28, 103.53\] instead of \[0, 0, 0\], std \[58.395, 57.12, 57.375\] instead of',
        ),
    ],
)
def test_a_file_of_another_config_is_refused(plain, exported, changes, message):
    cfg = copy.deepcopy(plain[0])
    cfg.merge_from_dict(dict(model=changes))
    with pytest.raises(ValueError, match=f'any.onnx does not fit the config, since it was exported with {message}'):
        Predictor(cfg, exported)


def test_testing_refuses_a_file_of_another_config(exported, tmp_path):
    cfg = Config.fromfile(runs.write_config(tmp_path))
    cfg.work_dir = str(tmp_path)
    with pytest.raises(ValueError, match='num_classes 3 instead of 9'):
        evaluate(cfg, exported)


def test_class_names_and_colors_are_those_of_the_file_if_it_has_them(plain, exported, tmp_path):
    import onnx

    cfg, classes = copy.deepcopy(plain[0]), ('x', 'y', 'z')
    cfg.test_dataloader.dataset.metainfo = dict(classes=classes, palette=[[1, 1, 1]] * 3)
    assert Predictor(cfg, exported).meta == dict(classes=('a', 'b', 'c'), palette=[[0, 0, 0], [255, 0, 0], [0, 0, 255]])
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'bare.onnx')
    cfg.model.data_preprocessor.mean = [1, 2, 3]
    assert Predictor(cfg, str(tmp_path / 'bare.onnx')).meta['classes'] == classes


def test_a_file_runs_on_the_cpu_if_told_to(exported):
    assert deploy.OnnxNetwork(exported, 'cpu').session.get_providers() == ['CPUExecutionProvider']
    assert deploy.OnnxNetwork(exported).provider != 'AzureExecutionProvider'


def test_the_predictor_predicts_what_mmsegmentation_predicts_with_either_file(plain, exported):
    from mmseg.apis import inference_model

    cfg, checkpoint = plain
    image = bgr_image(37, 61)
    model = deploy.load_segmentor(cfg, torch.load(checkpoint), checkpoint)
    model.cfg = Config(dict(test_pipeline=cfg.test_dataloader.dataset.pipeline))
    expected = inference_model(model, image).pred_sem_seg.data[0].numpy()
    assert len(np.unique(expected)) > 1
    for path in (checkpoint, exported):
        predictor = Predictor(cfg, path, device='cpu')
        labels = predictor(image)
        assert labels.dtype == np.uint8 and (labels == expected).mean() > 0.999  # ties may round differently
    colors = np.array([[0, 0, 0], [0, 0, 255], [255, 0, 0]])[labels]  # BGR
    np.testing.assert_allclose(predictor.overlay(image, labels), (image + colors) / 2, atol=1)


def test_images_come_from_a_file_a_folder_or_a_video(tmp_path):
    for name in ('b.png', 'a.PNG', 'notes.txt'):
        (tmp_path / name).write_bytes(cv2.imencode('.png', bgr_image(8, 10))[1].tobytes())
    assert [name for name, _ in images_of(str(tmp_path))] == ['a', 'b'] and count_images(str(tmp_path)) == 2
    ((name, image),) = images_of(str(tmp_path / 'b.png'))
    assert name == 'b' and (image == bgr_image(8, 10)).all()
    video = str(tmp_path / 'drive.avi')
    writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for _ in range(3):
        writer.write(bgr_image(48, 64))
    writer.release()
    frames = list(images_of(video))
    assert [name for name, _ in frames] == ['frame_000000', 'frame_000001', 'frame_000002']
    assert frames[0][1].shape == (48, 64, 3) and count_images(video) == 3


def test_sources_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / 'broken.png').write_text('no image')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken.mp4').write_text('no video')
    for source, error, message in (
        ('broken.png', ValueError, 'broken.png cannot be read as an image'),
        ('broken.mp4', ValueError, 'broken.mp4 cannot be read as an image or a video'),
        ('empty', FileNotFoundError, 'no image in .*empty'),
        ('nowhere', FileNotFoundError, 'no image, folder or video at .*nowhere'),
    ):
        with pytest.raises(error, match=message):
            list(images_of(str(tmp_path / source)))


def test_differences_are_split_by_their_distance_from_a_boundary():
    first = np.zeros((20, 30), np.uint8)
    first[:, 15:] = 1
    second = first.copy()
    second[10, 13] = 1  # near the boundary
    second[5, 28] = 2  # makes boundaries of its own
    third = 2 * (first == 0).astype(np.uint8) + first  # class 0 becomes class 2 everywhere
    image = bgr_image(20, 30)
    picture, fractions = compare(image, first, second, half_width=3)
    assert fractions == {'at boundaries': 2 / 600, 'elsewhere': 0}
    assert (picture[10, 13] == AT_BOUNDARY).all() and (picture[5, 28] == AT_BOUNDARY).all()
    picture, fractions = compare(image, first, third, half_width=3)
    assert fractions == {'at boundaries': 3 * 20 / 600, 'elsewhere': 12 * 20 / 600}  # columns 12 to 14 touch the band
    assert (picture[0, 11] == ELSEWHERE).all() and (picture[0, 12] == AT_BOUNDARY).all()
    assert (picture[0, 20] == cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[0, 20]).all()
    assert side_by_side([('a', image), ('a', picture)]).shape == (44, 60, 3)
