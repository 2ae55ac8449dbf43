_base_ = 'camvid_360x360.py'
crop_size = (240, 320)
task = dict(data_preprocessor=dict(size=crop_size))
train_pipeline = _base_.train_pipeline
train_pipeline[3].ratio_range = (0.6, 1.2)  # RandomResize; poles and signs of smaller images have few pixels
train_pipeline[4].crop_size = crop_size  # FastRandomCrop
train_dataloader = dict(batch_size=6, dataset=dict(pipeline=train_pipeline))
