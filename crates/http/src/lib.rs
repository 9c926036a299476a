//! A blocking HTTP client with the credentials, limits and encodings that PanDA's peers expect.
