"""The repairs. Most tests run in a process of their own, since a module is imported once per process."""

import os.path as osp
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import utils as mmengine_utils
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, checkpoint
from mmseg.models import SegDataPreProcessor
from mmseg.models import losses as mmseg_losses
from mmseg.models.decode_heads import decode_head
from mmseg.models.losses import cross_entropy
from mmseg.models.losses import cross_entropy_loss as mmseg_cross_entropy

from mmseg_bpkd import compat
from mmseg_bpkd.compat import FIXES, imports, mmengine_fixes, mmseg_fixes, policy
from mmseg_bpkd.compat.requirements import has_distribution


class Attack:
    """Runs code when it is loaded."""

    ran = []

    def __reduce__(self):
        return run_attack, ()


def run_attack() -> None:
    Attack.ran.append(True)


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT, capture_output=True, text=True)


FIX_NAMES = [fix.name for fix in FIXES]
NEEDS_ONEDL = {'bound on mmcv', 'silent data sets', 'configs of OneDL', 'channel conversion', 'safe loading'}
# Name of a fix -> code that fails without it.
FAILS_WITHOUT = {
    'operators': 'import mmseg.models',
    'deformable attention': """
import torch
torch.cuda.is_available = lambda: True
from mmcv.ops import multi_scale_deform_attn
assert not multi_scale_deform_attn.IS_CUDA_AVAILABLE""",
    'quantization': 'import mmrazor.models',
    'types in checkpoints': """
import io, torch
from mmengine.logging import HistoryBuffer
file = io.BytesIO()
torch.save(HistoryBuffer([1.0], [1]), file)
file.seek(0)
torch.load(file)""",
    'configs of this package': """
from mmengine.config import Config
with open(f'{folder}/own.py', 'w') as file:
    file.write("_base_ = 'mmseg_bpkd::_base_/schedules/80k.py'")
assert Config.fromfile(f'{folder}/own.py').train_cfg.max_iters == 80000""",
    'stored paths': """
import logging, types
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
hub = MessageHub.get_instance('x')
hub.update_info('best_ckpt', '/precious')
runner = types.SimpleNamespace(work_dir=folder, message_hub=hub, logger=logging.getLogger())
hook = CheckpointHook(by_epoch=False, save_best='mIoU')
hook.before_train(runner)
assert hook.best_ckpt_path is None""",
    'pictures on a full disk': """
import os
import numpy as np
from mmengine.visualization import LocalVisBackend
os.makedirs(f'{folder}/vis_image/x_0.png')
try:
    LocalVisBackend(folder).add_image('x', np.zeros((4, 4, 3), np.uint8))
except OSError as error:
    assert f'cannot write {folder}/vis_image/x_0.png' in str(error)
else:
    raise AssertionError('no error')""",
    'class weights and void': """
import torch
from mmseg.models.losses import cross_entropy
cross_entropy(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1), 255), class_weight=torch.ones(2), ignore_index=255)""",
    'one channel, void only': """
import torch
from mmseg.models.losses import binary_cross_entropy
binary_cross_entropy(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1), 255), ignore_index=255)""",
    'accuracy of one channel': """
import torch
from mmseg.models.decode_heads.decode_head import accuracy
assert accuracy(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, dtype=torch.long)) == 100""",
    'layer-wise rates of a student': """
import torch
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor
class BEiT(torch.nn.Linear):
    pass
algorithm, algorithm.architecture = (torch.nn.Module() for _ in range(2))
algorithm.architecture.backbone = BEiT(1, 1)
cfg = dict(optimizer=dict(type='SGD', lr=1, weight_decay=1))
LearningRateDecayOptimizerConstructor(cfg, dict(num_layers=1, decay_rate=0.5)).add_params([], algorithm)""",
    'inplace off': """
import torch
from mmrazor.models.algorithms import BaseAlgorithm
network = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.ReLU(inplace=True))
class Stub:
    architecture = network
    set_module_inplace_false = BaseAlgorithm.set_module_inplace_false
network.inplace = True
Stub().set_module_inplace_false(network, 'self.architecture')
kept = network[0](torch.randn(1, 1, 4, 4))
network[1](kept)
assert kept.min() < 0""",
    'weights that do not fit': """
import logging, torch
from mmengine.runner import Runner
class Stub:
    _has_loaded, model, logger, call_hook = False, torch.nn.Linear(1, 1), logging.getLogger(), lambda *_, **__: None
torch.save(dict(state_dict=dict(other=torch.ones(1))), f'{folder}/x.pth')
try:
    Runner.load_checkpoint(Stub(), f'{folder}/x.pth')
except ValueError as error:
    assert f'{folder}/x.pth' in str(error)
else:
    raise AssertionError('loaded')""",
    'checkpoints that cannot be resumed': """
from mmengine.runner import Runner
class Stub:
    def load_checkpoint(self, filename, map_location=None):
        return dict(meta=dict())
try:
    Runner.resume(Stub(), f'{folder}/x.pth')
except ValueError as error:
    assert f'{folder}/x.pth' in str(error)
else:
    raise AssertionError('resumed')""",
    'recursion limit': """
import sys
import mmrazor.models
assert sys.getrecursionlimit() < 2**20""",
    'overwritten records': """
import torch
from mmrazor.models.task_modules.recorder import ModuleOutputsRecorder
layer = torch.nn.Identity()
recorder = ModuleOutputsRecorder('')
recorder.initialize(layer)
with recorder:
    layer(torch.ones(1)).zero_()
try:
    assert recorder.get_record_data() == 1
except ValueError as error:
    assert 'was overwritten' in str(error)""",
    'safe downloads': """
import os, pickle, torch
from mmengine.runner.checkpoint import CheckpointLoader
class Harmless:
    pass
torch.hub.set_dir(folder)
os.makedirs(f'{folder}/checkpoints')
torch.save(dict(x=Harmless()), f'{folder}/checkpoints/x.pth')
try:
    CheckpointLoader.load_checkpoint('https://example.org/x.pth')
except ValueError as error:
    assert 'delete it, so that it is downloaded again' in str(error)
else:
    raise AssertionError('loaded')""",
    'unreadable checkpoints': """
from mmengine.runner.checkpoint import CheckpointLoader
open(f'{folder}/x.pth', 'wb').write(b'damaged')
try:
    CheckpointLoader.load_checkpoint(f'{folder}/x.pth')
except ValueError as error:
    assert f'{folder}/x.pth' in str(error)
else:
    raise AssertionError('loaded')""",
    'unreadable images': """
from mmcv.transforms import LoadImageFromFile
open(f'{folder}/x.png', 'w').write('damaged')
try:
    LoadImageFromFile()(dict(img_path=f'{folder}/x.png'))
except ValueError as error:
    assert str(error).startswith(f'cannot read the image {folder}/x.png')
else:
    raise AssertionError('loaded')""",
    'unreadable labels': """
from mmseg.datasets.transforms import LoadAnnotations
open(f'{folder}/x.png', 'w').write('damaged')
try:
    LoadAnnotations()(dict(seg_map_path=f'{folder}/x.png', seg_fields=[], reduce_zero_label=False))
except ValueError as error:
    assert str(error).startswith(f'cannot read the label {folder}/x.png')
else:
    raise AssertionError('loaded')""",
    'configs in checkpoints': """
import logging, torch
from mmengine.runner import Runner
torch.save(dict(meta=dict(config='x', iter=1), state_dict={}), f'{folder}/x.pth')
class Stub:
    _has_loaded, model, logger, call_hook = False, torch.nn.Module(), logging.getLogger(), lambda *_, **__: None
assert 'config' not in Runner.load_checkpoint(Stub(), f'{folder}/x.pth')['meta']""",
}


def with_fixes(code: str, folder, without: str = '') -> subprocess.CompletedProcess:
    """Runs code with all fixes but one, without the rest of the package."""
    return python(f"""
import sys, types
package = types.ModuleType('mmseg_bpkd')
package.__path__ = [{osp.join(ROOT, 'mmseg_bpkd')!r}]
sys.modules['mmseg_bpkd'] = package
from mmseg_bpkd import compat
compat.apply({without!r})
folder = {str(folder)!r}
{code}""")


def test_every_fix_has_a_test_that_fails_without_it():
    assert {*FAILS_WITHOUT, *NEEDS_ONEDL} == {*FIX_NAMES} and len(FIX_NAMES) == len(FIXES)
    for fix in FIXES:
        assert fix.reason and fix.affects and fix.until


@pytest.mark.skipif(has_distribution('onedl-mmengine') or has_distribution('mmcv'), reason='the faults are others')
@pytest.mark.slow
@pytest.mark.parametrize('name', FAILS_WITHOUT)
def test_a_fault_is_there_without_its_fix_only(name, tmp_path):
    (tmp_path / 'with').mkdir()
    (tmp_path / 'without').mkdir()
    done = with_fixes(FAILS_WITHOUT[name], tmp_path / 'with')
    assert done.returncode == 0, done.stderr
    assert with_fixes(FAILS_WITHOUT[name], tmp_path / 'without', name).returncode == 1


@pytest.mark.slow
def test_policies_can_be_switched_off(tmp_path, monkeypatch):
    monkeypatch.setenv('MMSEG_BPKD_TRUST_FILES', '1')
    done = with_fixes(FAILS_WITHOUT['unreadable checkpoints'], tmp_path)
    assert done.returncode == 1 and 'UnpicklingError' in done.stderr


def hide(*names: str) -> str:
    """Returns code that makes packages appear not to be installed."""
    return f"""
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name.split('.')[0] in {names!r} else real(name, *args)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'advice'),
    [
        ('joblib', 'joblib'),
        ('ftfy', 'ftfy'),
        ('mmrazor', 'mmrazor'),
        ('mmcv', 'onedl-mmcv' if has_distribution('onedl-mmengine') else 'mmcv-lite==2.1.0'),
        ('pkg_resources', '"setuptools<81"'),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(name, advice):
    done = python(hide(name) + 'import mmseg_bpkd')
    assert done.stderr.strip().splitlines()[-1] == (
        f'ImportError: mmseg_bpkd needs packages that are not installed: pip install {advice}'
    )


@pytest.mark.slow
def test_all_missing_packages_are_named_at_once():
    done = python(hide('joblib', 'regex') + 'import mmseg_bpkd')
    assert done.stderr.strip().endswith('pip install regex joblib')


@pytest.mark.slow
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


@pytest.mark.slow
def test_mmrazor_is_imported_with_a_newer_mmcv():
    done = python("""
import mmcv
mmcv.__version__ = '2.3.6'
try:
    import mmrazor
except AssertionError as error:
    print('incompatible' in str(error))
import mmseg_bpkd, mmrazor
print(mmcv.__version__)""")
    assert done.stdout.split() == ['True', '2.3.6'], done.stderr


def test_configs_of_mmseg_are_those_of_the_installed_distribution(monkeypatch):
    for installed, expected in (((), 'mmsegmentation'), (('onedl-mmsegmentation',), 'onedl-mmsegmentation')):
        monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
        monkeypatch.setattr(mmengine_fixes, 'has_distribution', installed.__contains__)
        if mmengine_fixes.looks_for_openmmlab(mmengine_utils):
            mmengine_fixes.look_for_onedl(mmengine_utils)
        assert MODULE2PACKAGE['mmseg'] == expected


@pytest.mark.slow
def test_importing_the_package_prints_nothing():
    done = python('import mmseg_bpkd.engine')
    assert (done.returncode, done.stdout) == (0, ''), done.stderr


def test_the_preprocessor_says_whether_it_converts_channels():
    for converts in (False, True):
        assert SegDataPreProcessor(bgr_to_rgb=converts).channel_conversion is converts


def test_a_checkpoint_that_is_refused_is_not_loaded_unsafely(tmp_path, monkeypatch):
    def fall_back(file, map_location=None, weights_only=None):  # as OneDL's MMEngine 0.10.12
        return torch.load(file, weights_only=False)

    monkeypatch.setattr(checkpoint, '_safe_torch_load', fall_back, raising=False)
    assert policy.falls_back_to_unsafe_loading(checkpoint)
    policy.keep_loading_safe(checkpoint)
    torch.save(dict(x=Attack()), tmp_path / 'bad.pth')
    for load in (checkpoint._safe_torch_load, CheckpointLoader.load_checkpoint):
        with pytest.raises((pickle.UnpicklingError, ValueError), match='weights_only'):
            load(str(tmp_path / 'bad.pth'))
    assert not Attack.ran
    assert not policy.falls_back_to_unsafe_loading(checkpoint)


@pytest.mark.slow
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


def test_compiled_operators_that_do_not_load_say_so(monkeypatch):
    def broken(name):
        raise ImportError('undefined symbol')

    monkeypatch.setattr(imports, 'is_installed', lambda name: True)
    monkeypatch.setattr(imports.importlib, 'import_module', broken)
    with pytest.raises(ImportError, match=r'operators of the installed mmcv do not load \(undefined symbol\)'):
        imports.operators_are_missing(imports)


@pytest.mark.slow
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


@pytest.mark.slow
def test_repairing_twice_changes_nothing():
    done = python("""
import sys, mmseg_bpkd.engine
from mmseg_bpkd import compat
before = {name: id(module) for name, module in sys.modules.items()}
compat.apply()
print(before == {name: id(module) for name, module in sys.modules.items()})""")
    assert done.stdout.strip() == 'True', done.stderr


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_mmrazor_without_quantization_says_so_when_it_is_used():
    done = python("""
import mmseg_bpkd
from mmrazor.structures.quantization import QConfigHandler
try:
    QConfigHandler({})
except RuntimeError as error:
    assert QConfigHandler.__module__ == 'mmseg_bpkd.compat.imports', 'the real one'
    print(error)""")
    assert 'MMRazor 1.0.0 cannot quantize' in done.stdout, done.stderr


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
    assert not mmseg_fixes.class_weights_fail_on_void(mmseg_cross_entropy)


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
