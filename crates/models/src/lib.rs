//! What runs in production. Files in, scores out.

pub mod recommend;
