//! Works out the formulas of placeholders: `${SEQNUMBER/M[#*100+1]}`.
//!
//! Numbers, `+ - * / // % **` and brackets, as Python works them out: `/` gives a fraction, `//` and
//! `%` round down.

use std::fmt;

/// How deep brackets, signs and powers may be nested.
const DEPTH_MAX: usize = 50;
/// Largest size of a fraction that is written without an exponent.
const PLAIN_MAX: f64 = 1e16;

/// Why a formula has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormulaError {
    /// It is not one.
    #[error("it is no formula of numbers, `+ - * / // % **` and brackets")]
    Syntax,
    /// It divides by zero.
    #[error("it divides by zero")]
    DivisionByZero,
    /// Its value is too large.
    #[error("its value is too large")]
    TooLarge,
    /// Its brackets are nested too deep.
    #[error("it is nested too deep")]
    TooDeep,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(i128),
    Fraction(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Fraction(number) if number.abs() < PLAIN_MAX => write!(f, "{number:?}"),
            Self::Fraction(number) => write!(f, "{}", format!("{number:e}").replace('e', "e+")),
        }
    }
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "so does Python")]
    fn as_fraction(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Fraction(number) => number,
        }
    }
}

/// Works out a formula.
pub(super) fn evaluate(formula: &str) -> Result<String, FormulaError> {
    let mut parser = Parser {
        text: formula.as_bytes(),
        at: 0,
        depth: 0,
    };
    let value = parser.sum()?;
    parser.skip_blanks();
    if parser.at < parser.text.len() {
        return Err(FormulaError::Syntax);
    }
    match value {
        Number::Fraction(number) if !number.is_finite() => Err(FormulaError::TooLarge),
        Number::Fraction(_) | Number::Whole(_) => Ok(value.to_string()),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn skip_blanks(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &str) -> bool {
        self.skip_blanks();
        let is_next = self.text[self.at..].starts_with(word.as_bytes());
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    fn sum(&mut self) -> Result<Number, FormulaError> {
        let mut value = self.product()?;
        loop {
            if self.take("+") {
                value = apply(Operation::Add, value, self.product()?)?;
            } else if self.take("-") {
                value = apply(Operation::Subtract, value, self.product()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Number, FormulaError> {
        let mut value = self.signed()?;
        loop {
            let operation = if self.take("//") {
                Operation::FloorDivide
            } else if self.take("/") {
                Operation::Divide
            } else if self.take("%") {
                Operation::Modulo
            } else if self.take("*") {
                Operation::Multiply
            } else {
                return Ok(value);
            };
            value = apply(operation, value, self.signed()?)?;
        }
    }

    fn signed(&mut self) -> Result<Number, FormulaError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(FormulaError::TooDeep);
        }
        let value = if self.take("-") {
            apply(Operation::Subtract, Number::Whole(0), self.signed()?)
        } else if self.take("+") {
            self.signed()
        } else {
            self.power()
        };
        self.depth -= 1;
        value
    }

    fn power(&mut self) -> Result<Number, FormulaError> {
        let base = self.atom()?;
        if self.take("**") {
            let exponent = self.signed()?;
            return apply(Operation::Power, base, exponent);
        }
        Ok(base)
    }

    fn atom(&mut self) -> Result<Number, FormulaError> {
        if self.take("(") {
            let value = self.sum()?;
            return if self.take(")") {
                Ok(value)
            } else {
                Err(FormulaError::Syntax)
            };
        }
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || **byte == b'.')
            .count();
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| FormulaError::Syntax)?;
        self.at += length;
        if text.contains('.') {
            text.parse()
                .map(Number::Fraction)
                .map_err(|_| FormulaError::Syntax)
        } else {
            text.parse().map(Number::Whole).map_err(|_| {
                if text.is_empty() {
                    FormulaError::Syntax
                } else {
                    FormulaError::TooLarge
                }
            })
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

fn apply(operation: Operation, left: Number, right: Number) -> Result<Number, FormulaError> {
    use Operation::{Add, Divide, FloorDivide, Modulo, Multiply, Power, Subtract};
    let is_division = matches!(operation, Divide | FloorDivide | Modulo);
    if is_division && right.as_fraction() == 0.0 {
        return Err(FormulaError::DivisionByZero);
    }
    if let (Number::Whole(left), Number::Whole(right)) = (left, right) {
        let whole = match operation {
            Add => left.checked_add(right),
            Subtract => left.checked_sub(right),
            Multiply => left.checked_mul(right),
            FloorDivide => left
                .checked_sub(modulo(left, right))
                .and_then(|exact| exact.checked_div(right)),
            Modulo => Some(modulo(left, right)),
            Power if right >= 0 => u32::try_from(right)
                .ok()
                .and_then(|right| left.checked_pow(right)),
            Divide | Power => return Ok(apply_fractions(operation, left_as(left), left_as(right))),
        };
        return whole.map(Number::Whole).ok_or(FormulaError::TooLarge);
    }
    Ok(apply_fractions(
        operation,
        left.as_fraction(),
        right.as_fraction(),
    ))
}

fn left_as(number: i128) -> f64 {
    Number::Whole(number).as_fraction()
}

/// The rest of a division that rounds down, with the sign of the divisor.
fn modulo(left: i128, right: i128) -> i128 {
    let rest = left.wrapping_rem(right);
    if rest != 0 && (rest < 0) != (right < 0) {
        rest + right
    } else {
        rest
    }
}

fn apply_fractions(operation: Operation, left: f64, right: f64) -> Number {
    Number::Fraction(match operation {
        Operation::Add => left + right,
        Operation::Subtract => left - right,
        Operation::Multiply => left * right,
        Operation::Divide => left / right,
        Operation::FloorDivide => (left / right).floor(),
        Operation::Modulo => left - right * (left / right).floor(),
        Operation::Power => left.powf(right),
    })
}
