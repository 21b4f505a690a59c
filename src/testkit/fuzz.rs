//! The bodies of the fuzz targets; their corpora replay in the ordinary tests.
