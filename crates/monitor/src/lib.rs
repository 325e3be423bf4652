//! Statistics of production: profiles, drift, experiments. Pure; not filled yet.
