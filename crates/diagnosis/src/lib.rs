//! The error catalogue: finds known errors in output and says their cause and remedy.
//!
//! What is known stands in the TOML files of the folder `error-catalogue/`, which are compiled in;
//! this crate only reads, indexes and searches them. It is for output of payloads and transfer
//! tools, for texts of batch systems, for exit codes, and for errors that arrive as numbers. It
//! runs nothing and reads no file, and what is done about an error is decided elsewhere: an
//! [`Entry`] only advises an [`Action`].
//!
//! The main type is [`Catalogue`]:
//!
//! ```
//! use ailurus_diagnosis::{Action, Catalogue};
//!
//! let catalogue = Catalogue::built_in();
//! let findings = catalogue.scan(b"event 17\nterminate: std::bad_alloc\n", 1);
//! assert_eq!(findings[0].entry.action, Action::MoreMemory);
//! ```

mod catalogue;
mod entry;
mod exit;
mod explain;
mod pattern;
pub mod reference;
mod scan;
mod schema;

pub use catalogue::Catalogue;
pub use entry::{Action, Category, Direction, Entry, ErrorSource, Explains, Scope};
pub use explain::Explanation;
pub use scan::{Finding, LINE_CHARS_MAX};
pub use schema::CatalogueError;
