//! Certificates made for one test run.
