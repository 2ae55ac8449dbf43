# A split of CamVid's training images for choosing hyper-parameters; the validation images stay unused until the end.
# CamVid is video, one image per second. Neighbors look alike, so single images must not be held out. Instead, each
# recording is cut where images are missing, and each part into blocks of about 15 consecutive images. The 3rd, 8th, ...
# block of a part are held out for validation (camvid_tuning/val.txt). The two images on either side of a held-out block
# are in neither list. All others are for training (camvid_tuning/train.txt).
_base_ = 'camvid_240x320.py'
num_images = dict(train=275, val=74)
train_dataloader = dict(dataset=dict(ann_file='{{ fileDirname }}/camvid_tuning/train.txt'))
val_dataloader = dict(
    dataset=dict(
        ann_file='{{ fileDirname }}/camvid_tuning/val.txt',
        data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'),
    )
)
test_dataloader = val_dataloader
