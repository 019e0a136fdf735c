//! Azurite, the storage server that the tests run against.
