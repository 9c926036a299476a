//! One call that was let in: who makes it, what they say, and the server behind it.

use std::{net::IpAddr, sync::Arc};

use ailurus_model::Caller;
use ailurus_wire::{
    Dialect, Fields,
    fields::{flag_of, text_of, whole_of},
};
use serde_json::Value;

use crate::{app::App, panda::upload::Upload};

/// One call, with its fields checked against the table and its defaults filled in.
#[derive(Debug)]
pub(crate) struct Call {
    /// The server.
    pub(crate) app: Arc<App>,
    /// The dialect in which the client speaks.
    pub(crate) dialect: Dialect,
    /// Who calls.
    pub(crate) caller: Caller,
    /// From which machine, where that is known.
    pub(crate) peer: Option<IpAddr>,
    /// What they say.
    pub(crate) fields: Fields,
    /// How they reached the server, for links: scheme, host and port.
    pub(crate) origin: String,
    /// The file that they sent.
    pub(crate) upload: Option<Upload>,
}

impl Call {
    /// A text; none if it is missing or stands for nothing.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = self.fields.get(name)?;
        Some(text_of(value).into_owned())
    }

    /// A whole number; none if it is missing or is none that fits.
    pub(crate) fn whole<T: TryFrom<i128>>(&self, name: &str) -> Option<T> {
        let number = whole_of(self.fields.get(name)?)?;
        T::try_from(number).ok()
    }

    /// A switch; off if it is missing.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.fields.get(name).and_then(flag_of).unwrap_or(false)
    }

    /// A list; empty if it is missing.
    pub(crate) fn list(&self, name: &str) -> &[Value] {
        match self.fields.get(name) {
            Some(Value::Array(items)) => items,
            _ => &[],
        }
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.list(name).iter().map(text_of);
        texts.map(std::borrow::Cow::into_owned).collect()
    }

    /// The whole numbers of a list; what is none that fits is left out.
    pub(crate) fn wholes<T: TryFrom<i128>>(&self, name: &str) -> Vec<T> {
        let numbers = self.list(name).iter().filter_map(whole_of);
        numbers
            .filter_map(|number| T::try_from(number).ok())
            .collect()
    }
}
