//! Tables of fields: one row says how a field is called in each dialect and what type it has.
//!
//! A call's module has one such table and nothing else that knows both spellings. [`Reader`] and
//! [`Writer`] go through the table's rows, so that decoding and encoding are the same code for
//! both dialects.

use ailurus_model::Timestamp;
use serde_json::Value;

use crate::{
    fields::{FieldError, Fields, first_chars, flag_of, number_of, time_of, whole_of},
    v1::{self, RequestError},
};

/// PanDA's two families of HTTP calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// `/server/panda/<method>`, spoken by Pilot 3 and by servers before May 2026.
    Legacy,
    /// `/api/v1/<module>/<method>`, spoken by newer servers and by Harvester.
    V1,
}

impl Dialect {
    /// Both dialects, the older one first.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::V1];
}

/// The type that the v1 dialect wants of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Int,
    /// A whole number in v1, text in the legacy dialect.
    Id,
    /// A number with or without fraction.
    Number,
    /// True or false.
    Flag,
    /// A JSON list.
    List,
    /// A JSON object.
    Map,
    /// Anything.
    Any,
}

/// One row of a table: a field in both dialects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Its name in the legacy dialect, empty if it has none.
    pub(crate) legacy: &'static str,
    /// Its name in the v1 dialect, empty if it has none.
    pub(crate) v1: &'static str,
    /// Its type.
    pub(crate) kind: Kind,
    /// Whether v1 refuses a message without it.
    pub(crate) is_required: bool,
    /// The longest text that PanDA keeps, in characters.
    pub(crate) limit: Option<usize>,
}

impl Field {
    const fn new(legacy: &'static str, v1: &'static str, kind: Kind) -> Self {
        Self {
            legacy,
            v1,
            kind,
            is_required: false,
            limit: None,
        }
    }

    pub(crate) const fn text(legacy: &'static str, v1: &'static str) -> Self {
        Self::new(legacy, v1, Kind::Text)
    }

    pub(crate) const fn int(legacy: &'static str, v1: &'static str) -> Self {
        Self::new(legacy, v1, Kind::Int)
    }

    pub(crate) const fn id(legacy: &'static str, v1: &'static str) -> Self {
        Self::new(legacy, v1, Kind::Id)
    }

    pub(crate) const fn number(legacy: &'static str, v1: &'static str) -> Self {
        Self::new(legacy, v1, Kind::Number)
    }

    pub(crate) const fn flag(legacy: &'static str, v1: &'static str) -> Self {
        Self::new(legacy, v1, Kind::Flag)
    }

    pub(crate) const fn list(legacy: &'static str, v1: &'static str) -> Self {
        Self::new(legacy, v1, Kind::List)
    }

    pub(crate) const fn map(legacy: &'static str, v1: &'static str) -> Self {
        Self::new(legacy, v1, Kind::Map)
    }

    pub(crate) const fn any(legacy: &'static str, v1: &'static str) -> Self {
        Self::new(legacy, v1, Kind::Any)
    }

    pub(crate) const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    pub(crate) const fn at_most(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Returns its name in a dialect, empty if it has none.
    pub(crate) const fn name(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Legacy => self.legacy,
            Dialect::V1 => self.v1,
        }
    }
}

/// Makes a constant of each row, and one of all rows in order.
macro_rules! field_table {
    ($all:ident { $($name:ident = $make:ident($legacy:literal, $v1:literal)$(.$more:ident($($arg:expr)?))*;)* }) => {
        $(const $name: $crate::table::Field =
            $crate::table::Field::$make($legacy, $v1)$(.$more($($arg)?))*;)*
        const $all: &[$crate::table::Field] = &[$($name),*];
    };
}
pub(crate) use field_table;

/// Reads the fields of one message by the rows of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    dialect: Dialect,
    fields: &'a Fields,
}

impl<'a> Reader<'a> {
    /// Reads a request. In the v1 dialect, names and types are checked against the table first;
    /// in the legacy dialect unknown fields are ignored, because newer pilots send more.
    pub(crate) fn of_request(
        dialect: Dialect,
        table: &[Field],
        fields: &'a Fields,
    ) -> Result<Self, RequestError> {
        match dialect {
            Dialect::Legacy => {}
            Dialect::V1 => v1::check(table, fields)?,
        }
        Ok(Self { dialect, fields })
    }

    /// Reads the query string of a v1 request: names are checked, values are all text.
    pub(crate) fn of_query(
        dialect: Dialect,
        table: &[Field],
        fields: &'a Fields,
    ) -> Result<Self, RequestError> {
        match dialect {
            Dialect::Legacy => {}
            Dialect::V1 => v1::check_names(table, fields)?,
        }
        Ok(Self { dialect, fields })
    }

    pub(crate) fn value(&self, field: &Field) -> Option<&'a Value> {
        self.fields.get(field.name(self.dialect))
    }

    /// The text of a field, cut to its limit; empty if it is missing.
    pub(crate) fn text(&self, field: &Field) -> String {
        let text = self.fields.text(field.name(self.dialect));
        match field.limit {
            Some(limit) => first_chars(&text, limit).to_owned(),
            None => text,
        }
    }

    /// The text of a field, if there is one.
    pub(crate) fn text_if_any(&self, field: &Field) -> Option<String> {
        Some(self.text(field)).filter(|text| !text.is_empty())
    }

    /// A whole number that must be there.
    pub(crate) fn must_be_whole<T: TryFrom<i128>>(&self, field: &Field) -> Result<T, FieldError> {
        let name = field.name(self.dialect);
        self.fields
            .whole(name)?
            .ok_or_else(|| FieldError::new(name, None, "a whole number"))
    }

    /// A whole number that may be missing, but must not be something else.
    pub(crate) fn whole<T: TryFrom<i128>>(&self, field: &Field) -> Result<Option<T>, FieldError> {
        self.fields.whole(field.name(self.dialect))
    }

    /// A whole number; what is none counts as missing, as in PanDA.
    pub(crate) fn whole_if_any<T: TryFrom<i128>>(&self, field: &Field) -> Option<T> {
        self.fields.whole_if_any(field.name(self.dialect))
    }

    /// A switch; what is none counts as not set.
    pub(crate) fn flag(&self, field: &Field) -> bool {
        self.value(field).and_then(flag_of).unwrap_or(false)
    }

    /// A number; what is none counts as missing.
    pub(crate) fn number_if_any(&self, field: &Field) -> Option<f64> {
        self.value(field).and_then(number_of)
    }

    /// A number with fraction rounded to a whole one; what is none counts as missing.
    pub(crate) fn rounded_if_any<T: TryFrom<i128>>(&self, field: &Field) -> Option<T> {
        let rounded = Value::from(number_of(self.value(field)?)?.round());
        whole_of(&rounded).and_then(|number| T::try_from(number).ok())
    }

    /// A time; what is none counts as missing, as in PanDA.
    pub(crate) fn time_if_any(&self, field: &Field) -> Option<Timestamp> {
        self.value(field).and_then(time_of)
    }

    /// A JSON list of at most `limit` items; a missing one is empty.
    pub(crate) fn list(&self, field: &Field, limit: usize) -> Result<&'a [Value], FieldError> {
        match self.value(field) {
            None => Ok(&[]),
            Some(Value::Array(items)) if items.len() <= limit => Ok(items),
            Some(_) => Err(self.error(field, format!("a list of at most {limit} items"))),
        }
    }

    /// An error about this field.
    pub(crate) fn error(&self, field: &Field, allowed: impl Into<String>) -> FieldError {
        FieldError::new(field.name(self.dialect), self.value(field), allowed)
    }
}

/// Writes the fields of one message by the rows of a table. What the dialect has no name for is
/// left out.
#[derive(Debug)]
pub(crate) struct Writer {
    dialect: Dialect,
    fields: Fields,
}

impl Writer {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            fields: Fields::new(),
        }
    }

    pub(crate) fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name(self.dialect);
        if !name.is_empty() {
            self.fields.put(name, value);
        }
    }

    /// Writes a text, cut to the field's limit; an empty one is left out.
    pub(crate) fn text(&mut self, field: &Field, text: &str) {
        if !text.is_empty() {
            self.put(field, first_chars(text, field.limit.unwrap_or(usize::MAX)));
        }
    }

    /// Writes a whole number, as text where the legacy dialect wants it so.
    pub(crate) fn whole(&mut self, field: &Field, number: impl Into<Value>) {
        let number = number.into();
        match (self.dialect, field.kind) {
            (Dialect::Legacy, Kind::Id) => self.put(field, number.to_string()),
            (Dialect::Legacy | Dialect::V1, _) => self.put(field, number),
        }
    }

    /// Writes a whole number, if there is one.
    pub(crate) fn whole_if_any(&mut self, field: &Field, number: Option<impl Into<Value>>) {
        if let Some(number) = number {
            self.whole(field, number);
        }
    }

    pub(crate) fn finish(self) -> Fields {
        self.fields
    }
}
