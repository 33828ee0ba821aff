//! Properties that hold for any bytes, as functions that fail by panicking: the property tests, the replay of the corpus
//! and the fuzz targets in `protocol/fuzz` all call these.

pub(crate) mod decode;
pub(crate) mod dictionary;
pub(crate) mod frames;
