//! The serving path: in-process answers and, around them, HTTP.

pub mod recommend;
