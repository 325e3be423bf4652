//! The quality of a ranking, a classifier, a regressor.
