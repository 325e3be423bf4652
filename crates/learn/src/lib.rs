//! What never ships to the request path: fit, evaluate, distill, the budget search.

pub mod forest;
pub mod recommend;
