//! What never ships to the request path: fit, evaluate, distill, the budget search.

pub mod recommend;
