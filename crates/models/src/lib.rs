//! What runs in production. Files in, scores out.

pub mod forest;
pub mod recommend;
