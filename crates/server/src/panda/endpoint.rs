//! What one row of the table of calls says: where a call is, who may make it, what it takes, what
//! it answers, and the function that carries it out.
//!
//! Rows are constants, made by the functions here and read by the frame and by the OpenAPI file.
//! The main type is [`Endpoint`].

use std::pin::Pin;

use ailurus_wire::Dialect;

use crate::panda::{call::Call, reply::Reply};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    /// The family that it belongs to.
    pub(crate) dialect: Dialect,
    /// The method name, in v1 after its module: `pilot/acquire_jobs`.
    pub(crate) name: &'static str,
    /// The HTTP method.
    pub(crate) verb: Verb,
    /// Whether callers must have proved who they are.
    pub(crate) security: Security,
    /// What callers must be allowed to do.
    pub(crate) role: Role,
    /// What it takes.
    pub(crate) parameters: &'static [Parameter],
    /// What becomes of fields that are not among `parameters`.
    pub(crate) unknown: UnknownFields,
    /// The largest file that it takes by its name, in bytes; none if it takes no file.
    pub(crate) file_max: Option<fn(&str) -> u64>,
    /// What a success holds: the data of v1, the fields of the legacy dialect beside the status.
    pub(crate) data: Shape,
    /// How the legacy dialect writes it.
    pub(crate) form: LegacyBody,
    /// Who calls it.
    pub(crate) callers: Callers,
    /// What it does, in one sentence or two.
    pub(crate) doc: &'static str,
    /// Carries it out.
    pub(crate) handler: Handler,
}

/// The function that carries a call out.
pub(crate) type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Makes a [`Handler`] of an asynchronous function from [`Call`] to [`Reply`].
macro_rules! handler {
    ($function:path) => {
        |call| Box::pin($function(call))
    };
}
pub(crate) use handler;

/// The HTTP method that a v1 call wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// GET only.
    Get,
    /// POST only.
    Post,
    /// Both: the whole legacy dialect, and a few calls of v1.
    Any,
}

/// Whether callers must have proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// Anybody may call.
    Open,
    /// Only who has a certificate, a full proxy, a token, or a trusted place.
    Secure,
}

/// What callers must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing special.
    Anyone,
    /// PanDA's *production*.
    Production,
    /// A pilot, or *production*.
    Pilot,
    /// The task that the field `task_id` names must be theirs, unless they have *production*.
    TaskOwner,
    /// A pilot, *production*, or whoever owns the job that the field `job_id` names (legacy
    /// `jobId`); others are answered the status code 60 in the legacy dialect.
    JobOwner,
    /// A pilot, legacy; others are answered a text.
    PilotByText,
}

/// What becomes of fields that a call does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownFields {
    /// The request is refused: PanDA's v1.
    Refused,
    /// They are passed over: newer clients may say more.
    Ignored,
    /// They are given to the call as they are.
    Kept,
}

/// How the legacy dialect writes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LegacyBody {
    /// A form, or JSON where the client accepts it.
    FormOrJson,
    /// A form, whatever the client accepts.
    Form,
    /// JSON, whatever the client accepts.
    Json,
    /// Text.
    Text,
}

/// Which of PanDA's clients call something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Callers {
    pub(crate) pilot: bool,
    pub(crate) harvester: bool,
    pub(crate) client: bool,
}

/// One parameter of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    /// Its name.
    pub(crate) name: &'static str,
    /// Another name that clients use for it, empty if there is none.
    pub(crate) alias: &'static str,
    /// Its type.
    pub(crate) kind: Kind,
    /// What it is where it is missing.
    pub(crate) default: Preset,
    /// What it means.
    pub(crate) doc: &'static str,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    List,
    ListOfInts,
    ListOfTexts,
    Dict,
    /// Anything: the call judges it.
    Any,
    /// An uploaded file.
    File,
}

/// What a parameter is where it is missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Preset {
    /// It must not be missing.
    Required,
    /// Nothing.
    Null,
    Int(i64),
    Bool(bool),
    Text(&'static str),
}

/// What an answer looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Nothing: null.
    Nothing,
    /// Anything.
    Any,
    Int,
    Text,
    Flag,
    /// A list of these.
    List(&'static Self),
    /// A map from names to these.
    Map(&'static Self),
    /// An object with these members, and perhaps others.
    Object(&'static [(&'static str, Self)]),
}

impl Endpoint {
    const fn new(dialect: Dialect, verb: Verb, name: &'static str, handler: Handler) -> Self {
        Self {
            dialect,
            name,
            verb,
            security: Security::Open,
            role: Role::Anyone,
            parameters: &[],
            unknown: match dialect {
                Dialect::Legacy => UnknownFields::Ignored,
                Dialect::V1 => UnknownFields::Refused,
            },
            file_max: None,
            data: Shape::Nothing,
            form: LegacyBody::FormOrJson,
            callers: Callers {
                pilot: false,
                harvester: false,
                client: false,
            },
            doc: "",
            handler,
        }
    }

    /// A call of the legacy dialect, by GET or POST.
    pub(crate) const fn legacy(name: &'static str, form: LegacyBody, handler: Handler) -> Self {
        let mut endpoint = Self::new(Dialect::Legacy, Verb::Any, name, handler);
        endpoint.form = form;
        endpoint
    }

    /// A call of v1 by GET.
    pub(crate) const fn get(name: &'static str, handler: Handler) -> Self {
        Self::new(Dialect::V1, Verb::Get, name, handler)
    }

    /// A call of v1 by POST.
    pub(crate) const fn post(name: &'static str, handler: Handler) -> Self {
        Self::new(Dialect::V1, Verb::Post, name, handler)
    }

    /// A call of v1 by GET or POST.
    pub(crate) const fn any(name: &'static str, handler: Handler) -> Self {
        Self::new(Dialect::V1, Verb::Any, name, handler)
    }

    /// Marks it as *secure*.
    pub(crate) const fn secure(mut self) -> Self {
        self.security = Security::Secure;
        self
    }

    /// Says who may call; every role but [`Role::Anyone`] of v1 is *secure* as well.
    pub(crate) const fn role(mut self, role: Role) -> Self {
        self.role = role;
        match (role, self.dialect) {
            (Role::Production | Role::Pilot | Role::TaskOwner, _)
            | (Role::JobOwner, Dialect::V1) => self.secure(),
            (Role::Anyone | Role::PilotByText, _) | (Role::JobOwner, Dialect::Legacy) => self,
        }
    }

    /// Says what it takes.
    pub(crate) const fn takes(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    /// Has it pass over fields that it does not know.
    pub(crate) const fn ignores_unknown(mut self) -> Self {
        self.unknown = UnknownFields::Ignored;
        self
    }

    /// Has it take fields that it does not know, as they are.
    pub(crate) const fn keeps_unknown(mut self) -> Self {
        self.unknown = UnknownFields::Kept;
        self
    }

    /// Has it take a file of at most so many bytes, by the file's name.
    pub(crate) const fn file_max(mut self, limit: fn(&str) -> u64) -> Self {
        self.file_max = Some(limit);
        self
    }

    /// Says what a success holds.
    pub(crate) const fn gives(mut self, data: Shape) -> Self {
        self.data = data;
        self
    }

    /// Says that Pilot 3 calls it.
    pub(crate) const fn by_pilot(mut self) -> Self {
        self.callers.pilot = true;
        self
    }

    /// Says that Harvester calls it.
    pub(crate) const fn by_harvester(mut self) -> Self {
        self.callers.harvester = true;
        self
    }

    /// Says that panda-client calls it.
    pub(crate) const fn by_client(mut self) -> Self {
        self.callers.client = true;
        self
    }

    /// Says what it does.
    pub(crate) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

impl Parameter {
    const fn new(kind: Kind, name: &'static str) -> Self {
        Self {
            name,
            alias: "",
            kind,
            default: Preset::Null,
            doc: "",
        }
    }

    /// Says that it must be there.
    pub(crate) const fn required(self) -> Self {
        self.or(Preset::Required)
    }

    /// Says what it is where it is missing.
    pub(crate) const fn or(mut self, default: Preset) -> Self {
        self.default = default;
        self
    }

    /// Names another spelling.
    pub(crate) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    /// Says what it means.
    pub(crate) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

macro_rules! makers {
    ($($(#[$doc:meta])* $function:ident = $kind:ident;)*) => {
        $($(#[$doc])*
        pub(crate) const fn $function(name: &'static str) -> Parameter {
            Parameter::new(Kind::$kind, name)
        })*
    };
}

makers! {
    /// A text.
    text = Text;
    /// A whole number.
    int = Int;
    /// A number.
    float = Float;
    /// A switch.
    flag = Bool;
    /// A list.
    list = List;
    /// A list of whole numbers.
    ints = ListOfInts;
    /// A list of texts.
    texts = ListOfTexts;
    /// An object.
    dict = Dict;
    /// Anything.
    anything = Any;
    /// An uploaded file.
    file = File;
}

/// How long a call may take, in seconds: taken, and not looked at, since the server's own limit
/// holds for all calls.
pub(crate) const TIMEOUT: Parameter = int("timeout")
    .or(Preset::Int(60))
    .doc("seconds that the client would wait; not looked at");
