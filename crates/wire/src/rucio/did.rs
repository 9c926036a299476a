//! The name of a file or dataset.

use std::fmt;

use ailurus_model::Scope;
use serde_json::{Value, json};

/// A data identifier: the name of a file or of a dataset, unique in its scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did {
    /// The scope.
    pub scope: Scope,
    /// The name in it.
    pub name: String,
}

impl Did {
    /// Makes an identifier.
    #[must_use]
    pub fn new(scope: Scope, name: impl Into<String>) -> Self {
        Self {
            scope,
            name: name.into(),
        }
    }

    pub(crate) fn encode(&self) -> Value {
        json!({"scope": self.scope, "name": self.name})
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scope, self.name)
    }
}
