//! Whatever an answer or a state looks like: no text that is not known to be plain is left in it.
//!
//! An answer is made along the field table, with a marked text wherever the table does not say that a text is plain: in
//! secrets, in place of other types, as names, and below names that nobody knows. Not here: single shapes (`tests`).

use proptest::prelude::*;

use super::*;
use crate::tunnel::fields;

/// In every text that must not be left.
const MARK: &str = "m4rk3d";

/// In every text that must stay.
const PLAIN: &str = "plain";

/// Choices, one after the other; zeros when there are no more.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn one_of(&mut self, count: u8) -> u8 {
        self.0.next().copied().unwrap_or(0) % count
    }

    /// A text that is nowhere else.
    fn marked(&mut self) -> String {
        format!("{MARK}-{}-{}", self.0.len(), self.one_of(255))
    }

    /// A value of any type, marked wherever there is a text.
    fn unknown(&mut self, depth: u8) -> Json {
        match self.one_of(if depth == 0 { 3 } else { 5 }) {
            0 => self.marked().into(),
            1 => true.into(),
            2 => i64::from(self.one_of(255)).into(),
            3 => Json::Array((0..self.one_of(3)).map(|_| self.unknown(depth - 1)).collect()),
            _ => {
                let members = (0..self.one_of(3)).map(|_| (self.marked(), self.unknown(depth - 1)));
                Json::Object(members.collect::<Vec<_>>().into_iter().collect())
            }
        }
    }

    fn known(&mut self, kind: &Kind, depth: u8) -> Json {
        if self.one_of(6) == 0 {
            // Of another type than the table says.
            let other = self.unknown(2);
            let fits = match kind {
                Kind::Text | Kind::Prose | Kind::TextOr(_) => matches!(other, Json::String(_)),
                Kind::List(_) => matches!(other, Json::Array(_)),
                Kind::ById(_) => matches!(other, Json::Object(_)),
                Kind::Pointer | Kind::Secret(_) | Kind::Flag | Kind::Integer | Kind::Group(_) => false,
            };
            return if fits { true.into() } else { other };
        }
        match kind {
            Kind::Text | Kind::Prose => PLAIN.into(),
            Kind::Secret(_) => self.marked().into(),
            Kind::Pointer => format!("/{}/0/name", self.marked()).into(),
            Kind::Flag => true.into(),
            Kind::Integer => 7i64.into(),
            Kind::TextOr(_) if self.one_of(2) == 0 => PLAIN.into(),
            Kind::Group(table) | Kind::TextOr(table) => Json::Object(self.members(table, depth)),
            Kind::List(kind) => Json::Array((0..self.one_of(3)).map(|_| self.known(kind, depth)).collect()),
            Kind::ById(kind) => {
                let name = if self.one_of(2) == 0 { "0f".to_owned() } else { self.marked() };
                Json::Object(Object::from_iter([(name, self.known(kind, depth))]))
            }
        }
    }

    /// Some members of a table, and some that it does not know.
    fn members(&mut self, table: &[Field], depth: u8) -> Object {
        let mut members = Object::new();
        for field in table {
            if depth > 0 && self.one_of(3) > 0 {
                members.set(field.name, self.known(&field.kind, depth - 1));
            }
        }
        for _ in 0..self.one_of(3) {
            members.extend([(self.marked(), self.unknown(2))]);
        }
        members
    }
}

/// How many texts are plain.
fn plain(value: &Json) -> usize {
    value.to_string().matches(PLAIN).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_of_an_answer_that_is_not_known_to_be_plain(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
        operation in 0..Operation::ALL.len(),
    ) {
        let operation = Operation::ALL[operation];
        let mut choices = Choices(choices.iter());
        let mut envelope = choices.members(fields::ENVELOPE, 4);
        let table = if choices.one_of(2) == 0 { fields::RESULT } else { fields::TUNNEL };
        // A table that the operation's answers don't have is unknown to it.
        let fits = (table.len() == fields::TUNNEL.len()) == (operation == Operation::Create);
        let result = choices.members(table, 5);
        envelope.set("result", result);
        let envelope = Json::Object(envelope);
        let redacted = Redactor::new(Fingerprinter::new(b"a key")).answer(operation, &envelope);
        let text = redacted.to_string();
        prop_assert!(!text.contains(MARK), "{text}\nof {envelope}");
        if fits && operation != Operation::Create {
            prop_assert_eq!(plain(&redacted), plain(&envelope), "{}\nof {}", text, envelope);
        }
    }

    #[test]
    fn nothing_is_left_of_a_state_that_is_not_known_to_be_plain(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let state = Choices(choices.iter()).members(fields::TUNNEL, 5);
        let redacted = Redactor::new(Fingerprinter::new(b"a key")).state(&state);
        prop_assert!(!redacted.to_string().contains(MARK), "{redacted}");
        prop_assert_eq!(plain(&redacted), plain(&Json::Object(state)));
        // A name that nobody knows is a number in the order of its object.
        let names: Vec<&str> = redacted.as_object().unwrap().iter().map(|(name, _)| name).collect();
        let unknown: Vec<_> = names.iter().filter(|name| name.starts_with('?')).collect();
        prop_assert!(unknown.iter().zip(1..).all(|(name, n)| **name == format!("?{n}")), "{names:?}");
    }
}
