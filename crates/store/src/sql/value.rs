//! Neutral values, and which types of the model become which value.
//!
//! Numbers and times are whole numbers, names and statuses texts, an absent value is NULL, and
//! [`Json`] writes whatever has no columns of its own.

use std::{borrow::Cow, cmp::Ordering, error::Error};

use ailurus_model::{
    AttemptNr, BatchId, ByteCount, ChainName, ChangeId, Checksum, DatasetName, EndpointName,
    EventStatus, FileId, FileStatus, Guid, HarvesterId, JobKind, JobStatus, JobTags, Lfn, NodeName,
    PandaId, QueueName, Scope, Seed, SourceLabel, StepStatus, TaskId, TaskStatus, Timestamp,
    WorkerId, WorkerStatus, WorkflowId, WorkflowStatus,
};

use super::SqlError;

/// One value of a row or of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// A number.
    Real(f64),
    /// A text.
    Text(Cow<'a, str>),
}

impl Eq for Value<'_> {}

impl PartialOrd for Value<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value<'_> {
    /// Orders values of one column.
    fn cmp(&self, other: &Self) -> Ordering {
        let kind = |value: &Self| match value {
            Self::Null => 0,
            Self::Int(_) => 1,
            Self::Real(_) => 2,
            Self::Text(_) => 3,
        };
        match (self, other) {
            (Self::Int(one), Self::Int(two)) => one.cmp(two),
            (Self::Real(one), Self::Real(two)) => one.total_cmp(two),
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            (one, two) => kind(one).cmp(&kind(two)),
        }
    }
}

/// A column did not hold what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("there is {found} where {wanted} should be")]
struct OtherKind {
    wanted: &'static str,
    found: &'static str,
}

impl Value<'_> {
    /// Returns a value that borrows nothing.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(number),
            Self::Real(number) => Value::Real(number),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// Returns the same value without copying its text.
    pub(crate) fn as_borrowed(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(*number),
            Self::Real(number) => Value::Real(*number),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
        }
    }

    /// The error of a value that is of another kind than `wanted`.
    pub(super) fn is_not(&self, wanted: &'static str) -> Box<dyn Error + Send + Sync> {
        let found = match self {
            Self::Null => "nothing",
            Self::Int(_) => "a whole number",
            Self::Real(_) => "a number",
            Self::Text(_) => "a text",
        };
        Box::new(OtherKind { wanted, found })
    }
}

/// Turns a number into the databases' signed one.
///
/// What does not fit becomes the largest that does: no counter gets there, and a size there
/// means "more than anything" either way.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What can be a parameter of a statement.
pub(crate) trait ToValue {
    /// Returns it as a value.
    fn to_value(&self) -> Value<'_>;
}

/// What can be read from a column.
pub(crate) trait FromValue: Sized {
    /// Reads it.
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>>;
}

/// A value as JSON text, for one column.
pub(crate) struct Json(String);

impl Json {
    /// Writes a value as JSON.
    pub(crate) fn of<T: serde::Serialize>(value: &T) -> Result<Self, SqlError> {
        serde_json::to_string(value)
            .map(Self)
            .map_err(SqlError::Unwritable)
    }
}

impl ToValue for Json {
    fn to_value(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(&self.0))
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value<'_> {
        T::to_value(self)
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, T::to_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match value {
            Value::Null => Ok(None),
            Value::Int(_) | Value::Real(_) | Value::Text(_) => T::from_value(value).map(Some),
        }
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(self))
    }
}

impl ToValue for String {
    fn to_value(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(self))
    }
}

impl FromValue for String {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match value {
            Value::Text(text) => Ok(text.into_owned()),
            Value::Null | Value::Int(_) | Value::Real(_) => Err(value.is_not("a text")),
        }
    }
}

impl ToValue for f64 {
    fn to_value(&self) -> Value<'_> {
        Value::Real(*self)
    }
}

impl FromValue for f64 {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match value {
            Value::Real(number) => Ok(number),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a column of numbers holds no ids"
            )]
            Value::Int(number) => Ok(number as Self),
            Value::Null | Value::Text(_) => Err(value.is_not("a number")),
        }
    }
}

impl ToValue for i64 {
    fn to_value(&self) -> Value<'_> {
        Value::Int(*self)
    }
}

impl FromValue for i64 {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match value {
            Value::Int(number) => Ok(number),
            Value::Null | Value::Real(_) | Value::Text(_) => Err(value.is_not("a whole number")),
        }
    }
}

impl ToValue for u64 {
    fn to_value(&self) -> Value<'_> {
        Value::Int(int(*self))
    }
}

impl FromValue for u64 {
    /// A number that is never below zero.
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self::try_from(i64::from_value(value)?).unwrap_or(0))
    }
}

impl ToValue for usize {
    fn to_value(&self) -> Value<'_> {
        Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl ToValue for bool {
    /// Databases have 0 and 1 in common.
    fn to_value(&self) -> Value<'_> {
        Value::Int(i64::from(*self))
    }
}

impl FromValue for bool {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(i64::from_value(value)? != 0)
    }
}

macro_rules! small_numbers {
    ($($name:ty),* $(,)?) => {$(
        impl ToValue for $name {
            fn to_value(&self) -> Value<'_> {
                Value::Int(i64::from(*self))
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
                Ok(Self::try_from(i64::from_value(value)?)?)
            }
        }
    )*};
}

macro_rules! number_ids {
    ($($name:ty),* $(,)?) => {$(
        impl ToValue for $name {
            fn to_value(&self) -> Value<'_> {
                Value::Int(int(u64::from(self.value())))
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
                FromValue::from_value(value).map(Self::new)
            }
        }
    )*};
}

macro_rules! texts {
    ($($name:ty),* $(,)?) => {$(
        impl ToValue for $name {
            fn to_value(&self) -> Value<'_> {
                Value::Text(Cow::Borrowed(self.as_str()))
            }
        }

        impl FromValue for $name {
            fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
                match value {
                    Value::Text(text) => Ok(text.parse::<Self>()?),
                    Value::Null | Value::Int(_) | Value::Real(_) => Err(value.is_not("a text")),
                }
            }
        }
    )*};
}

small_numbers!(i32, u32, u16, u8);
number_ids!(
    PandaId, TaskId, AttemptNr, ChangeId, WorkerId, WorkflowId, FileId, Seed
);
texts!(
    BatchId,
    ChainName,
    DatasetName,
    EndpointName,
    Guid,
    HarvesterId,
    JobTags,
    Lfn,
    NodeName,
    QueueName,
    Scope,
);
texts!(
    EventStatus,
    FileStatus,
    JobKind,
    JobStatus,
    StepStatus,
    TaskStatus,
    WorkerStatus,
    WorkflowStatus
);

impl ToValue for SourceLabel {
    fn to_value(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(self.as_str()))
    }
}

impl FromValue for SourceLabel {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        String::from_value(value).map(Self::new)
    }
}

impl ToValue for Checksum {
    fn to_value(&self) -> Value<'_> {
        Value::Text(Cow::Owned(self.to_string()))
    }
}

impl FromValue for Checksum {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(String::from_value(value)?.parse()?)
    }
}

impl ToValue for Timestamp {
    fn to_value(&self) -> Value<'_> {
        Value::Int(self.as_millis())
    }
}

impl FromValue for Timestamp {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        i64::from_value(value).map(Self::from_millis)
    }
}

impl ToValue for ByteCount {
    fn to_value(&self) -> Value<'_> {
        Value::Int(int(self.as_bytes()))
    }
}

impl FromValue for ByteCount {
    fn from_value(value: Value<'_>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        u64::from_value(value).map(Self::from_bytes)
    }
}
