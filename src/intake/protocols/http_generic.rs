//! Any HTTPS receiver of NDJSON or of a JSON array.
