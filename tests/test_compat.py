"""The repairs. Most tests run in a process of their own, since a module is imported once per process."""

import os.path as osp
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, checkpoint
from mmseg.models import SegDataPreProcessor
from mmseg.models import losses as mmseg_losses
from mmseg.models.decode_heads import decode_head
from mmseg.models.losses import cross_entropy
from mmseg.models.losses import cross_entropy_loss as mmseg_cross_entropy

from mmseg_bpkd.compat.fixes import fixes as compat

ONEDL = compat._has_distribution('onedl-mmengine')


class Attack:
    """Runs code when it is loaded."""

    ran = []

    def __reduce__(self):
        return run_attack, ()


def run_attack() -> None:
    Attack.ran.append(True)


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT, capture_output=True, text=True)


LOAD_COMPAT = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location('compat', {osp.join(ROOT, 'mmseg_bpkd/compat/fixes.py')!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
"""


def hide(*names: str) -> str:
    """Returns code that makes packages appear not to be installed."""
    return f"""
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name.split('.')[0] in {names!r} else real(name, *args)
"""


@pytest.mark.parametrize(
    ('name', 'advice'),
    [
        ('joblib', 'joblib'),
        ('ftfy', 'ftfy'),
        ('mmrazor', 'mmrazor'),
        ('mmcv', 'onedl-mmcv' if ONEDL else 'mmcv-lite==2.1.0'),
        ('pkg_resources', '"setuptools<81"'),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(name, advice):
    done = python(hide(name) + 'import mmseg_bpkd')
    assert done.stderr.strip().splitlines()[-1] == (
        f'ImportError: mmseg_bpkd needs packages that are not installed: pip install {advice}'
    )


def test_all_missing_packages_are_named_at_once():
    done = python(hide('joblib', 'regex') + 'import mmseg_bpkd')
    assert done.stderr.strip().endswith('pip install regex joblib')


@pytest.mark.parametrize('other', ['mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation'])
def test_packages_of_openmmlab_and_onedl_together_are_refused(other):
    done = python(f"""
from importlib import metadata
real = metadata.distribution
metadata.distribution = lambda name: real('torch' if name in ({other!r}, 'onedl-mmengine') else name)
import mmseg_bpkd""")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError') and 'own the same folders: pip uninstall' in last
    assert other in last and 'onedl-mmengine' in last


def test_mmrazor_is_imported_with_a_newer_mmcv():
    done = python(f"""{LOAD_COMPAT}
import mmcv
mmcv.__version__ = '2.3.6'
try:
    import mmrazor
except AssertionError as error:
    print('incompatible' in str(error))
compat.lift_bound_of_mmrazor()
import mmrazor
print(mmcv.__version__)""")
    assert done.stdout.split() == ['True', '2.3.6'], done.stderr


def test_configs_of_mmseg_are_those_of_the_installed_distribution(monkeypatch):
    for installed, expected in (((), 'mmsegmentation'), (('onedl-mmsegmentation',), 'onedl-mmsegmentation')):
        monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
        monkeypatch.setattr(compat, '_has_distribution', installed.__contains__)
        compat.resolve_onedl_configs()
        assert MODULE2PACKAGE['mmseg'] == expected


def test_importing_the_package_prints_nothing():
    done = python('import mmseg_bpkd')
    assert (done.returncode, done.stdout) == (0, ''), done.stderr


def test_the_preprocessor_says_whether_it_converts_channels():
    for converts in (False, True):
        assert SegDataPreProcessor(bgr_to_rgb=converts).channel_conversion is converts


def test_a_checkpoint_that_is_refused_is_not_loaded_unsafely(tmp_path, monkeypatch):
    def fall_back(file, map_location=None, weights_only=None):  # as OneDL's MMEngine 0.10.12
        return torch.load(file, weights_only=False)

    monkeypatch.setattr(checkpoint, '_safe_torch_load', fall_back, raising=False)
    compat.keep_loading_safe()
    torch.save(dict(x=Attack()), tmp_path / 'bad.pth')
    for load in (checkpoint._safe_torch_load, CheckpointLoader.load_checkpoint):
        with pytest.raises((pickle.UnpicklingError, ValueError), match='weights_only'):
            load(str(tmp_path / 'bad.pth'))
    assert not Attack.ran
    safe = checkpoint._safe_torch_load
    compat.keep_loading_safe()
    assert checkpoint._safe_torch_load is safe


def test_an_opencv_that_does_not_load_is_one_line_that_says_what_to_install():
    done = python("""
import importlib, sys
real_import = importlib.import_module
def broken(name, *args):
    if name == 'cv2':
        raise ImportError('libGL.so.1: cannot open shared object file')
    return real_import(name, *args)
importlib.import_module = broken
import mmseg_bpkd""")
    last = done.stderr.strip().splitlines()[-1]
    assert 'libGL.so.1' in last and last.endswith('opencv-python-headless')


def test_compiled_operators_that_do_not_load_say_so():
    done = python(f"""{LOAD_COMPAT}
compat._installed = lambda name: True
def broken(name):
    raise ImportError('undefined symbol')
compat.importlib.import_module = broken
compat.stand_in_for_mmcv_ops()""")
    assert 'the compiled operators of the installed mmcv do not load (undefined symbol)' in done.stderr


def test_a_compiled_operator_raises_only_when_it_is_called():
    done = python("""
import sys, mmseg_bpkd
from mmcv.utils import ext_loader
if sys.modules['mmcv._ext'].__spec__.loader:
    print('compiled')
else:
    try:
        ext_loader.load_ext('_ext', ['nms', 'roi_align_forward']).nms(1)
    except RuntimeError as error:
        print(error)""")
    assert done.stdout.strip() == 'compiled' or 'nms is a compiled operator of mmcv' in done.stdout, done.stderr


def test_repairing_twice_changes_nothing():
    done = python("""
import sys, mmseg_bpkd
from mmseg_bpkd import compat
before = {name: id(module) for name, module in sys.modules.items()}
compat.apply()
print(before == {name: id(module) for name, module in sys.modules.items()})""")
    assert done.stdout.strip() == 'True', done.stderr


def test_safe_loading_stays_on_and_getattr_stays_out():
    done = python("""
import io, pickle, torch, mmseg_bpkd
from mmengine.logging import HistoryBuffer
def load(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer)
history = load(HistoryBuffer([1.0, 3.0], [1, 1]))
assert history.mean() == 2 and history.statistics('max') == 3
class Attack:
    def __init__(self, *call):
        self.call = call
    def __reduce__(self):
        return self.call[0], self.call[1:]
import os
for call in ((os.system, 'echo hacked'), (getattr, HistoryBuffer, '__init__'), (getattr, HistoryBuffer, 'update')):
    try:
        load(Attack(*call))
    except Exception as error:
        print(type(error).__name__)
    else:
        print('loaded', call)""")
    assert done.stdout.split() == ['UnpicklingError'] * 3, done.stdout + done.stderr


def test_a_download_is_loaded_as_safely_as_a_file(tmp_path):
    done = python(f"""
import os, torch, mmseg_bpkd
from mmseg_bpkd.fileio.checkpoint import read_checkpoint
class Attack:
    def __reduce__(self):
        return os.system, ('echo hacked',)
torch.hub.set_dir({str(tmp_path)!r})
os.makedirs(os.path.join(torch.hub.get_dir(), 'checkpoints'))
for name, value in (('bad.pth', dict(x=Attack())), ('good.pth', dict(state_dict=dict(x=torch.ones(1))))):
    torch.save(value, os.path.join(torch.hub.get_dir(), 'checkpoints', name))
print(read_checkpoint('https://example.org/good.pth')['state_dict']['x'].item())
try:
    read_checkpoint('https://example.org/bad.pth')
except ValueError as error:
    print('refused')""")
    assert done.stdout.splitlines()[1::2] == ['1.0', 'refused'], (
        done.stdout + done.stderr
    )  # every other line is of the log


def test_mmrazor_without_quantization_says_so_when_it_is_used():
    done = python("""
import mmseg_bpkd
from mmrazor.structures.quantization import QConfigHandler
try:
    QConfigHandler({})
except RuntimeError as error:
    print(error)
except Exception as error:  # of the real QConfigHandler, if MMRazor's quantization can be imported
    print('cannot quantize', error)""")
    assert 'cannot quantize' in done.stdout, done.stderr


CLASS_WEIGHT = [0.5, 2.0, 3.0]


def weighted_cross_entropy(logits: np.ndarray, label: np.ndarray, reduction: str) -> np.ndarray:
    """Per pixel -w[y] * log softmax(logits)[y], and 0 for void; the mean divides by the weights of the valid pixels."""
    loss, weights = np.zeros(label.shape), 0.0
    for n, i, j in np.ndindex(label.shape):
        y = label[n, i, j]
        if y != 255:
            x = logits[n, :, i, j]
            loss[n, i, j] = CLASS_WEIGHT[y] * (np.log(np.exp(x).sum()) - x[y])
            weights += CLASS_WEIGHT[y]
    return {'none': loss, 'sum': loss.sum(), 'mean': loss.sum() / max(weights, 1e-7)}[reduction]


def logits_and_label(void: str) -> tuple:
    logits, label = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    label[{'no void': slice(0), 'some void': (0, 1), 'all void': slice(None)}[void]] = 255
    return logits, label


@pytest.mark.parametrize('void', ['no void', 'some void', 'all void'])
@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_void_pixels_have_no_class_weight(void, reduction, avg_non_ignore):
    logits, label = logits_and_label(void)
    expected = torch.from_numpy(np.asarray(weighted_cross_entropy(logits.numpy(), label.numpy(), reduction)))
    weight = logits.new_tensor(CLASS_WEIGHT)
    common = dict(class_weight=weight, reduction=reduction, ignore_index=255, avg_non_ignore=avg_non_ignore)
    torch.testing.assert_close(cross_entropy(logits, label, **common), expected, rtol=1e-6, atol=1e-9)

    module = MODELS.build(
        dict(
            type='mmseg.CrossEntropyLoss',
            class_weight=CLASS_WEIGHT,
            reduction=reduction,
            avg_non_ignore=avg_non_ignore,
            loss_weight=0.4,
        )
    )
    logits.requires_grad_()
    loss = module(logits, label, ignore_index=255)
    torch.testing.assert_close(loss, 0.4 * expected, rtol=1e-6, atol=1e-9)
    loss.sum().backward()
    void_pixels = (label == 255)[:, None].expand_as(logits)
    assert torch.isfinite(logits.grad).all() and (logits.grad[void_pixels] == 0).all()
    assert (logits.grad[~void_pixels] != 0).all()


@pytest.mark.parametrize(
    'changes',
    [
        dict(class_weight=None),
        dict(class_weight=None, avg_non_ignore=True),
        dict(ignore_index=1),  # a label that has a weight: MMSegmentation counts it unless avg_non_ignore
        dict(ignore_index=1, avg_non_ignore=True),
        dict(weight=torch.linspace(0, 1, 12).reshape(1, 3, 4)),
        dict(avg_factor=7.0),
    ],
    ids=str,
)
def test_what_mmsegmentation_could_compute_is_unchanged(changes):
    original = mmseg_cross_entropy.cross_entropy
    original = getattr(original, '__wrapped__', original)  # a healthy MMSegmentation has no wrapper
    logits, label = torch.randn(1, 3, 3, 4), torch.randint(0, 3, (1, 3, 4))
    arguments = dict(class_weight=torch.tensor(CLASS_WEIGHT), ignore_index=255) | changes
    try:
        expected = original(logits, label, **arguments)
    except IndexError:
        pytest.skip("OneDL's MMSegmentation cannot compute it")
    assert torch.equal(cross_entropy(logits, label, **arguments), expected)


def test_a_healthy_cross_entropy_is_left_alone(monkeypatch):
    def healthy(pred, label, class_weight=None, ignore_index=-100, avg_non_ignore=False):
        return pred.sum()

    monkeypatch.setattr(mmseg_cross_entropy, 'cross_entropy', healthy)
    compat.repair_class_weights()
    assert mmseg_cross_entropy.cross_entropy is healthy


def test_class_weights_are_repaired_once():
    repaired = mmseg_cross_entropy.cross_entropy
    compat.apply()
    assert mmseg_cross_entropy.cross_entropy is repaired is cross_entropy


def binary_loss(logits: torch.Tensor, label: torch.Tensor, **settings) -> torch.Tensor:
    loss = MODELS.build(dict(type='mmseg.CrossEntropyLoss', use_sigmoid=True, **settings))
    return loss(logits, label, ignore_index=255)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_void_is_ignored_by_a_head_with_one_channel_also_if_there_is_nothing_else(reduction, avg_non_ignore):
    logits, label = torch.randn(2, 1, 4, 5, requires_grad=True), torch.randint(0, 2, (2, 4, 5))
    label[0, 1] = 255
    settings = dict(reduction=reduction, avg_non_ignore=avg_non_ignore)
    per_pixel, valid = np.zeros((2, 4, 5)), (label != 255).numpy()
    for place in np.argwhere(valid):
        z, y = logits[place[0], 0, place[1], place[2]].item(), label[tuple(place)].item()
        per_pixel[tuple(place)] = np.log(1 + np.exp(-z if y else z))
    divisor = valid.sum() if avg_non_ignore else valid.size
    expected = {'none': per_pixel, 'sum': per_pixel.sum(), 'mean': per_pixel.sum() / divisor}[reduction]
    loss = binary_loss(logits, label, **settings)
    np.testing.assert_allclose(loss.detach(), expected, rtol=1e-5)

    loss = binary_loss(logits, label.fill_(255), **settings)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.shape == np.shape(expected) and not loss.any() and not gradient.any()


def test_a_label_that_is_no_class_of_a_head_with_one_channel_is_still_refused():
    with pytest.raises(AssertionError, match='at most 2 classes'):
        binary_loss(torch.zeros(1, 1, 2, 2), torch.full((1, 2, 2), 2))


def test_the_accuracy_of_a_head_with_one_channel_is_that_of_two_channels_with_the_same_probabilities():
    logits, label = torch.randn(2, 1, 4, 5), torch.randint(0, 2, (2, 4, 5))
    label[0, 1] = 255
    valid = label != 255
    expected = 100 * ((logits[:, 0] > 0) == (label == 1))[valid].float().mean().item()
    two_channels = torch.cat([torch.ones_like(logits), logits + 1], 1)
    for preds in (logits, two_channels):
        assert decode_head.accuracy(preds, label, ignore_index=255).item() == pytest.approx(expected)
        assert mmseg_losses.Accuracy(topk=1, ignore_index=255)(preds, label).item() == pytest.approx(expected)


def test_loss_and_accuracy_of_heads_with_one_channel_are_repaired_once():
    repaired = mmseg_losses.binary_cross_entropy, mmseg_losses.accuracy
    compat.apply()
    assert (mmseg_losses.binary_cross_entropy, mmseg_losses.accuracy) == repaired
    assert mmseg_cross_entropy.binary_cross_entropy is repaired[0] and decode_head.accuracy is repaired[1]
