"""`bpkd predict`, and the images and videos that it reads."""

import json
import os
import zlib

import cv2
import numpy as np
import pytest
import runs
import torch
from mmengine.config import Config

from mmseg_bpkd.deploy.predict import count_images, distinct_ends, images_of, read_image
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor


def random_image(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_video(path, frames: int = 10) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for _ in range(frames):
        writer.write(random_image())
    writer.release()


def save_student(cfg: Config, path, seed: int = 0, **meta) -> str:
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    torch.save(dict(meta=meta, state_dict=build_segmentor(student_config(cfg.model)).state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> str:
    return runs.write_config(tmp_path_factory.mktemp('config'))


@pytest.fixture
def photo(tmp_path) -> str:
    path = str(tmp_path / 'photo.png')
    cv2.imwrite(path, random_image())
    return path


@pytest.mark.parametrize(
    ('first', 'second', 'ends'),
    [
        ('runs/kd/last.pth', 'runs/bpkd/last.pth', ('kd/last.pth', 'bpkd/last.pth')),
        ('kd/run/last.pth', 'bpkd/run/last.pth', ('kd/run/last.pth', 'bpkd/run/last.pth')),
        ('runs/iter_1.pth', 'runs/iter_2.pth', ('iter_1.pth', 'iter_2.pth')),
        ('/a/last.pth', '/b/a/last.pth', ('/a/last.pth', 'b/a/last.pth')),
        ('a/last.pth', 'a/last.pth', ('last.pth', 'last.pth')),
    ],
)
def test_the_shortest_ends_of_paths_that_differ(first, second, ends):
    assert distinct_ends(first, second) == ends


def test_checkpoints_with_the_same_name_are_compared(bpkd, config, photo, tmp_path):
    cfg = Config.fromfile(config)
    first = save_student(cfg, tmp_path / 'kd/last.pth', 0)
    second = save_student(cfg, tmp_path / 'bpkd/last.pth', 1)
    assert not bpkd('predict', config, first, photo, '--beside', config, second, '--device', 'cpu')
    compared = cv2.imread('predictions/compared/photo.png')
    assert compared.shape == (48 + 24, 4 * 64, 3)
    assert (compared[24:, :64] == random_image()).all()
    assert (compared[24:, 64:128] == cv2.imread('predictions/overlays/photo.png')).all()
    assert (compared[24:, 64:128] != compared[24:, 128:192]).any()


def test_models_with_other_classes_are_not_compared(bpkd, config, photo, tmp_path):
    cfg = Config.fromfile(config)
    first = save_student(cfg, tmp_path / 'first.pth')
    names = [f'class {i}' for i in range(9)]
    second = save_student(cfg, tmp_path / 'second.pth', dataset_meta=dict(classes=names, palette=[[0, 0, 0]] * 9))
    error = bpkd('predict', config, first, photo, '--beside', config, second)
    assert error.startswith('error: first.pth and second.pth have different classes: sky, ')
    assert error.endswith('; class 0, class 1, class 2, class 3, class 4, class 5, class 6, class 7, class 8')
    assert not os.path.exists('predictions')


def test_predicting_takes_the_options_of_the_run(bpkd, config, photo, tmp_path):
    cfg = Config.fromfile(config)
    cfg.model.student.decode_head.channels = 4
    narrow = save_student(cfg, tmp_path / 'narrow.pth')
    assert 'is not a checkpoint of this EncoderDecoder' in bpkd('predict', config, narrow, photo)
    options = ['--method', 'cwd', '--cfg-options', 'model.student.decode_head.channels=4']
    assert not bpkd('predict', config, narrow, photo, *options)
    assert cv2.imread('predictions/labels/photo.png').shape == (48, 64, 3)
    assert bpkd('predict', config, narrow, photo, '--device', 'gpu', *options).startswith(
        "error: PyTorch cannot use the device 'gpu': "
    )


def test_images_whose_predictions_would_have_the_same_name_are_refused(tmp_path):
    for name in ('a.jpg', 'b.png', 'a.png'):
        cv2.imwrite(str(tmp_path / name), random_image())
    for read in (count_images, lambda folder: next(images_of(folder))):
        with pytest.raises(ValueError, match=r'the predictions of a\.jpg and a\.png in .* would have the same name'):
            read(str(tmp_path))


def test_hidden_files_are_left_out(tmp_path):
    cv2.imwrite(str(tmp_path / 'b.jpg'), random_image())
    (tmp_path / '._b.jpg').write_bytes(b'attributes that macOS stores')
    assert [name for name, _ in images_of(str(tmp_path))] == ['b'] and count_images(str(tmp_path)) == 1


@pytest.mark.parametrize('folder', ['labels', 'overlays', 'compared'])
def test_predictions_do_not_mix_with_the_files_of_a_data_set(bpkd, config, photo, tmp_path, folder):
    checkpoint = save_student(Config.fromfile(config), tmp_path / 'last.pth')
    truth = tmp_path / 'data' / folder / 'photo.png'
    truth.parent.mkdir(parents=True)
    truth.write_bytes(b'ground truth')
    error = bpkd('predict', config, checkpoint, photo, '--out', 'data')
    assert error.startswith(
        f"error: data/{folder} has files that are not of an earlier prediction, such as 'photo.png'"
    )
    assert truth.read_bytes() == b'ground truth' and os.listdir('data') == [folder]


def test_predictions_overwrite_earlier_predictions_but_not_their_source(bpkd, config, photo, tmp_path):
    checkpoint = save_student(Config.fromfile(config), tmp_path / 'last.pth')
    for _ in range(2):
        assert not bpkd('predict', config, checkpoint, photo)
    with open('predictions/predictions.json') as file:
        assert json.load(file) == dict(models=[checkpoint], source=photo)
    os.symlink('predictions', 'same')
    before = cv2.imread('predictions/overlays/photo.png')
    error = bpkd('predict', config, checkpoint, 'predictions/overlays/photo.png', '--out', 'same')
    assert error == 'error: the source is in same/overlays, where predictions would be written: choose another --out'
    assert (cv2.imread('predictions/overlays/photo.png') == before).all()


def test_files_that_cannot_be_read_are_reported_and_the_others_are_predicted(bpkd, config, tmp_path, capsys):
    checkpoint = save_student(Config.fromfile(config), tmp_path / 'last.pth')
    (tmp_path / 'photos').mkdir()
    jpeg, png = (cv2.imencode(ending, random_image())[1].tobytes() for ending in ('.jpg', '.png'))
    huge = png[:16] + (2**20).to_bytes(4, 'big') * 2 + png[24:]
    header = png[12:16] + huge[16:29]
    huge = huge[:29] + zlib.crc32(header).to_bytes(4, 'big') + huge[33:]
    bad = {'b.jpg': jpeg[:-40], 'c.png': png[:-40], 'd.jpg': b'', 'e.png': huge, 'f.jpg': jpeg[: len(jpeg) // 2]}
    for name, content in {**bad, 'a.jpg': jpeg, 'z.png': png}.items():
        (tmp_path / 'photos' / name).write_bytes(content)
    (tmp_path / 'photos/g.jpg').mkdir()
    error = bpkd('predict', config, checkpoint, 'photos')
    assert error.startswith('error: 6 of 8 images are left out: photos/b.jpg cannot be read as an image')
    assert all(f'photos/{name} cannot be read as an image' in error for name in (*bad, 'g.jpg')) and '\n' not in error
    assert sorted(os.listdir('predictions/labels')) == ['a.png', 'z.png']
    assert 'wrote the predictions of 2 images' in capsys.readouterr().out


def test_opencv_fills_a_truncated_jpeg_and_it_is_refused_nevertheless(tmp_path, monkeypatch):
    content = cv2.imencode('.jpg', random_image())[1].tobytes()
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: random_image())  # as OpenCV 4 does
    (tmp_path / 'photo.jpg').write_bytes(content[:-40])
    with pytest.raises(ValueError, match=r'photo.jpg cannot be read as an image \(image file is truncated'):
        read_image(str(tmp_path / 'photo.jpg'))
    (tmp_path / 'photo.jpg').write_bytes(content + b'appended by a camera')
    assert (read_image(str(tmp_path / 'photo.jpg')) == random_image()).all()


def test_names_that_are_not_utf8_are_read_and_written(bpkd, config, tmp_path):
    """OpenCV's own functions crash with them."""
    checkpoint = save_student(Config.fromfile(config), tmp_path / 'last.pth')
    folder = os.fsencode(tmp_path) + b'/\xff'
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip('this file system has UTF-8 names only')
    for name in (b'b\xe4.png', b'a.png', b'video\xe4'):
        with open(folder + b'/' + name, 'wb') as file:
            file.write(cv2.imencode('.png', random_image())[1].tobytes())
    other = save_student(Config.fromfile(config), tmp_path / os.fsdecode(b'\xe4.pth'))
    assert not bpkd('predict', config, checkpoint, os.fsdecode(folder), '--beside', config, other)
    assert sorted(os.listdir(b'predictions/compared')) == [b'a.png', b'b\xe4.png']
    error = bpkd('predict', config, checkpoint, os.fsdecode(folder + b'/video\xe4'))
    assert error.startswith('error: OpenCV cannot open ') and error.endswith('whose name is not UTF-8: rename it')


def test_a_full_disk_ends_with_one_line_and_leaves_no_part_of_a_picture(bpkd, config, photo, tmp_path):
    checkpoint = save_student(Config.fromfile(config), tmp_path / 'last.pth')
    assert not bpkd('predict', config, checkpoint, photo)
    os.symlink('/dev/full', 'predictions/overlays/photo.png.part')
    error = bpkd('predict', config, checkpoint, photo)
    assert error == 'error: the disk is full: cannot write predictions/overlays/photo.png'
    assert cv2.imread('predictions/overlays/photo.png').shape == (48, 64, 3)
    assert os.listdir('predictions/overlays') == ['photo.png']


@pytest.mark.parametrize('name', ['drive.wmv', 'drive.m4v', 'drive'])
def test_a_file_that_is_no_image_is_read_as_a_video(name, tmp_path):
    write_video(tmp_path / 'drive.avi', frames=3)
    os.rename(tmp_path / 'drive.avi', tmp_path / name)
    assert [frame for frame, _ in images_of(str(tmp_path / name))] == ['frame_000000', 'frame_000001', 'frame_000002']
    assert count_images(str(tmp_path / name)) == 3


def test_an_image_is_known_by_its_content_too(photo, tmp_path):
    os.rename(photo, tmp_path / 'photo')
    ((name, image),) = images_of(str(tmp_path / 'photo'))
    assert name == 'photo' and (image == random_image()).all()


def test_a_video_that_breaks_off_is_an_error_after_its_frames_are_predicted(bpkd, config, tmp_path, capsys):
    checkpoint = save_student(Config.fromfile(config), tmp_path / 'last.pth')
    write_video(tmp_path / 'drive.avi')
    content = (tmp_path / 'drive.avi').read_bytes()
    (tmp_path / 'drive.avi').write_bytes(content[: 6 * len(content) // 10])
    error = bpkd('predict', config, checkpoint, 'drive.avi')
    frames = len(os.listdir('predictions/labels'))
    assert error == f'error: drive.avi breaks off after {frames} of about 10 frames' and 4 <= frames <= 7
    assert f'wrote the predictions of {frames} images to predictions' in capsys.readouterr().out


class Capture:
    """Twenty frames at 10 frames per second, of a file that states another number of frames and another rate."""

    def __init__(self, count: float, rate: float) -> None:
        self.properties = {cv2.CAP_PROP_FRAME_COUNT: count, cv2.CAP_PROP_FPS: rate}
        self.read_frames = 0

    def read(self) -> tuple:
        self.properties[cv2.CAP_PROP_POS_MSEC] = 100 * self.read_frames
        self.read_frames += 1
        return self.read_frames <= 20, random_image()

    def get(self, key: int) -> float:
        return self.properties[key]


@pytest.mark.parametrize(
    ('count', 'rate', 'complete'),
    [
        (20, 10, True),
        (22, 10, True),
        (0, 10, True),
        (-9e16, 10, True),
        (2000, 1000, True),
        (20, 5, True),
        (30, 10, False),
    ],
)
def test_a_number_of_frames_that_is_unknown_or_estimated_is_no_error(count, rate, complete, tmp_path, monkeypatch):
    (tmp_path / 'drive.mkv').touch()
    monkeypatch.setattr(cv2, 'VideoCapture', lambda path: Capture(count, rate))
    frames = images_of(str(tmp_path / 'drive.mkv'))
    assert [next(frames)[0] for _ in range(20)][-1] == 'frame_000019'
    if complete:
        assert not list(frames)
    else:
        with pytest.raises(ValueError, match='drive.mkv breaks off after 20 of about 30 frames'):
            next(frames)
