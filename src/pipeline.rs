//! Stands empty until it is built.
