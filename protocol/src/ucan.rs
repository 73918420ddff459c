//! ucan
