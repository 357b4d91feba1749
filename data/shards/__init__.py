"""Shards of stored images: TFRecord, Parquet and webdataset's tar files, their names, sizes and labels."""
