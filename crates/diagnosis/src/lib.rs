//! The error catalogue: finds known errors in output and says their cause and remedy.
