"""Checkpoints and images from strangers: what SECURITY.md says is refused."""

import io
import os
import random
import struct
import zipfile
import zlib

import pytest
import tiny
import torch
import toy
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations

from mmseg_bpkd.fileio.checkpoint import load_strictly, read_checkpoint
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor


class Attack:
    """Unpickling it runs a shell command that creates a file."""

    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def read(path) -> None:
    read_checkpoint(str(path))


def teacher(path) -> None:
    tiny.distillation(str(path))


def resume(path) -> None:
    toy.runner(path.parent / 'run', resume=True, load_from=str(path)).train()


def load_from(path) -> None:
    toy.runner(path.parent / 'run', load_from=str(path)).train()


def pretrained(path) -> None:
    init = dict(type='Pretrained', checkpoint=str(path))
    tiny.distillation(
        tiny.save_teacher(path.parent / 'teacher.pth'), student=tiny.pspnet(4, backbone=dict(init_cfg=init))
    )


@pytest.mark.parametrize(
    'use',
    [read, teacher, resume, load_from, pretrained],
    ids=['read', 'teacher', 'resume', 'load_from', 'pretrained'],
)
def test_code_in_a_checkpoint_is_not_run(tmp_path, use):
    path, marker = tmp_path / 'attack.pth', tmp_path / 'hacked'
    torch.save(dict(state_dict=Attack(marker), meta=Attack(marker)), path)
    with pytest.raises(ValueError, match=r'cannot read the checkpoint .*attack\.pth: .*weights_only'):
        use(path)
    assert not marker.exists()


def test_a_config_in_a_checkpoint_is_not_run(tmp_path):
    """MMEngine's resume executes the text under meta.config."""
    toy.runner(tmp_path, max_iters=2).train()
    checkpoint, marker = toy.checkpoint(tmp_path, 2), tmp_path / 'hacked'
    checkpoint['meta']['config'] = f'import os\nos.system("touch {marker}")'
    torch.save(checkpoint, tmp_path / 'attack.pth')
    toy.runner(tmp_path / 'run', max_iters=4, resume=True, load_from=str(tmp_path / 'attack.pth')).train()
    assert toy.checkpoint(tmp_path / 'run', 4)['meta']['iter'] == 4
    assert not marker.exists()


class Rebuilt:
    """Unpickles as a tensor of any size and stride over a storage of four values."""

    def __init__(self, size, stride, offset=0) -> None:
        self.arguments = torch.zeros(4).storage(), offset, size, stride, False, {}

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


@pytest.mark.parametrize(
    'tensor',
    [Rebuilt((1000,), (1,)), Rebuilt((2, 2), (2, 1), offset=9), Rebuilt((2,), (-1,))],
    ids=['large', 'offset', 'stride'],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, tensor):
    torch.save(dict(state_dict=dict(x=tensor)), tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match='cannot read the checkpoint .*bad.pth'):
        read_checkpoint(str(tmp_path / 'bad.pth'))


def test_a_compressed_checkpoint_is_refused(tmp_path):
    """100 MB of zeros in 100 kB."""
    path, packed = tmp_path / 'plain.pth', tmp_path / 'packed.pth'
    torch.save(dict(state_dict=dict(x=torch.zeros(25_000_000))), path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert packed.stat().st_size < path.stat().st_size / 100
    with pytest.raises(ValueError, match=r'cannot read the checkpoint .*packed\.pth.*it is compressed'):
        read_checkpoint(str(packed))


def save_archive(path) -> zipfile.ZipFile:
    torch.save(dict(state_dict=dict(x=torch.arange(1000.0), y=torch.arange(1000.0))), path)
    return zipfile.ZipFile(path)


def test_an_archive_whose_entries_overlap_is_refused(tmp_path):
    """One entry of 4 MB, which 100 names of the table point to: the table says which entries there are."""
    path = tmp_path / 'overlap.pth'
    torch.save(dict(state_dict={f'x{i}': torch.full((10**6,) if i == 0 else (1,), 1.0) for i in range(100)}), path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        table = archive.start_dir
        large = archive.getinfo('overlap/data/0')
        for entry in archive.infolist():
            if entry.filename.startswith('overlap/data/'):
                start = content.index(b'PK\x01\x02', table)
                while content[start + 46 : start + 46 + len(entry.filename)] != entry.filename.encode():
                    start = content.index(b'PK\x01\x02', start + 4)
                sizes = struct.pack('<III', large.CRC, large.file_size, large.file_size)
                header = struct.pack('<I', large.header_offset)
                content = content[: start + 16] + sizes + content[start + 28 :]
                content = content[: start + 42] + header + content[start + 46 :]
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) > 90 * len(content)
    with pytest.raises(ValueError, match=r'cannot read the checkpoint .*overlap\.pth.*entries of this archive overlap'):
        read_checkpoint(str(path))


@pytest.mark.parametrize('hide', ['comment', 'second table', 'prefix'])
def test_an_archive_of_which_torch_may_read_another_table_is_refused(tmp_path, hide):
    path = tmp_path / 'x.pth'
    save_archive(path).close()
    content = path.read_bytes()
    assert content[-42:-38] == b'PK\x06\x07' and content[-98:-94] == b'PK\x06\x06'  # where torch.save puts them
    if hide == 'comment':
        content = content[:-2] + b'\x04\x00' + b'text'
    elif hide == 'second table':
        # torch reads the table that the last 42 bytes point to, zipfile that of the record before them
        record, end = content[-98:-42], content[-42:]
        start = struct.unpack('<Q', record[48:56])[0]
        second = record[:48] + struct.pack('<Q', len(content) - 42)
        content = content[:-42] + content[start:-98] + second + end
    else:
        content = content[:100] + content
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'cannot read the checkpoint .*x\.pth.*not laid out as torch\.save'):
        read_checkpoint(str(path))


def test_a_home_folder_is_found_before_the_check(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    packed = tmp_path / 'packed.pth'
    with save_archive(tmp_path / 'plain.pth') as source, zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(ValueError, match='it is compressed'):
        read_checkpoint('~/packed.pth')
    assert read_checkpoint('~/plain.pth')['state_dict']['x'].sum() == 499500


def segmentor():
    return build_segmentor(resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR))


@pytest.mark.parametrize(
    'value',
    [torch.zeros(1).expand(2**40), torch.zeros(3, 3), 'text', None, [1.0], torch.zeros(2, 2).to_sparse()],
    ids=['a terabyte', 'another shape', 'text', 'nothing', 'list', 'sparse'],
)
def test_a_value_that_does_not_fit_the_model_is_refused_with_its_name(tmp_path, value):
    model = segmentor()
    state = dict(model.state_dict(), **{'decode_head.conv_seg.weight': value})
    torch.save(dict(state_dict=state), tmp_path / 'bad.pth')
    loaded = read_checkpoint(str(tmp_path / 'bad.pth'))['state_dict']
    with pytest.raises(ValueError, match=r'bad\.pth is not a checkpoint of this EncoderDecoder: .*conv_seg\.weight'):
        load_strictly(model, loaded, 'bad.pth')


@pytest.mark.parametrize(
    'content', [b'', b'PK\x03\x04', b'\x80\x02.', b'text', bytes(1000)], ids=['empty', 'zip', 'pickle', 'text', 'zeros']
)
def test_a_file_that_is_no_checkpoint_is_refused_with_its_name(tmp_path, content):
    (tmp_path / 'bad.pth').write_bytes(content)
    for use in (read, resume):
        with pytest.raises(ValueError, match=r'cannot read the checkpoint .*bad\.pth'):
            use(tmp_path / 'bad.pth')


def test_damaged_checkpoints_load_or_are_refused(tmp_path):
    """Half of them are truncated; the others have a byte changed."""
    file = io.BytesIO()
    torch.save(dict(state_dict=dict(x=torch.arange(9.0)), meta=dict(iter=1)), file)
    rng, refused = random.Random(0), 0
    for i in range(200):
        content = bytearray(file.getvalue())
        position = rng.randrange(len(content))
        if i % 2:
            del content[position:]
        else:
            content[position] ^= 1 << rng.randrange(8)
        (tmp_path / 'bad.pth').write_bytes(content)
        try:
            read_checkpoint(str(tmp_path / 'bad.pth'))
        except ValueError as error:
            assert 'bad.pth' in str(error)
            refused += 1
    assert refused > 100


# Images


def png(width: int, height: int) -> bytes:
    """A file that claims a size. Its data would be black."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')
    )


@pytest.mark.parametrize('size', [(2**15, 2**15 + 1), (2**20 + 1, 1)], ids=['pixels', 'width'])
def test_an_image_beyond_the_limits_of_opencv_is_refused(tmp_path, size):
    (tmp_path / 'bomb.png').write_bytes(png(*size))
    with pytest.raises(
        ValueError, match=r'^cannot read the image .*bomb.png \(.*(CV_IO_MAX_IMAGE|failed to load image)'
    ):
        LoadImageFromFile()(dict(img_path=str(tmp_path / 'bomb.png')))


def test_a_label_beyond_the_limits_of_pillow_is_refused(tmp_path):
    (tmp_path / 'bomb.png').write_bytes(png(2**14, 2**14))
    with pytest.raises(ValueError, match=r'^cannot read the label .*bomb.png \(Image size .* exceeds limit'):
        LoadAnnotations()(dict(seg_map_path=str(tmp_path / 'bomb.png'), seg_fields=[], reduce_zero_label=False))
