//! Changes of state and what became of them: an operation that is asked for again is answered again, not made again.

use crate::request::MAX_ID;
use alloc::collections::VecDeque;
use alloc::string::String;

/// Operations that are remembered; the oldest is forgotten first, but none that is under way.
pub const KEPT: usize = 64;

/// What an operator was told in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit status.
    pub status: u8,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// What is to be done about an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It is new: carry it out, then [`Operations::finish`] it.
    New,
    /// It has been carried out: this was the answer.
    Again(Answer),
    /// It is being carried out.
    UnderWay,
    /// Another one had this ID.
    Other,
    /// All that can be remembered are under way.
    Full,
}

#[derive(Clone, Debug)]
struct Operation {
    id: String,
    request: String,
    answer: Option<Answer>,
}

/// The last operations.
#[derive(Clone, Debug, Default)]
pub struct Operations(VecDeque<Operation>);

impl Operations {
    /// None yet.
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Whether to carry out `request` under `id`. Both are compared as they are.
    pub fn begin(&mut self, id: &str, request: &str) -> Begin {
        debug_assert!(id.len() <= MAX_ID);
        if let Some(known) = self.0.iter().find(|operation| operation.id == id) {
            return match &known.answer {
                _ if known.request != request => Begin::Other,
                Some(answer) => Begin::Again(answer.clone()),
                None => Begin::UnderWay,
            };
        }
        if self.0.len() == KEPT {
            match self.0.iter().position(|operation| operation.answer.is_some()) {
                Some(oldest) => drop(self.0.remove(oldest)),
                None => return Begin::Full,
            }
        }
        self.0.push_back(Operation { id: id.into(), request: request.into(), answer: None });
        Begin::New
    }

    /// What became of an operation that was begun.
    pub fn finish(&mut self, id: &str, answer: Answer) {
        if let Some(operation) = self.0.iter_mut().find(|operation| operation.id == id) {
            operation.answer = Some(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn answer(text: &str) -> Answer {
        Answer { status: 0, out: text.into(), err: String::new() }
    }

    #[test]
    fn an_operation_is_made_once() {
        let mut operations = Operations::new();
        assert_eq!(operations.begin("a", "mode guest"), Begin::New);
        assert_eq!(operations.begin("a", "mode guest"), Begin::UnderWay);
        operations.finish("a", answer("guest"));
        assert_eq!(operations.begin("a", "mode guest"), Begin::Again(answer("guest")));
        assert_eq!(operations.begin("a", "mode native"), Begin::Other);
        assert_eq!(operations.begin("b", "mode native"), Begin::New);
    }

    #[test]
    fn the_oldest_are_forgotten_but_none_under_way() {
        let mut operations = Operations::new();
        assert_eq!(operations.begin("slow", "x"), Begin::New);
        for number in 0..2 * KEPT {
            let id = format!("{number}");
            assert_eq!(operations.begin(&id, "x"), Begin::New);
            operations.finish(&id, answer(&id));
        }
        assert_eq!(operations.begin("slow", "x"), Begin::UnderWay);
        assert_eq!(operations.begin(&format!("{}", 2 * KEPT - 1), "x"), Begin::Again(answer("127")));
        assert_eq!(operations.begin("0", "x"), Begin::New, "forgotten");
        let mut full = Operations::new();
        (0..KEPT).for_each(|number| assert_eq!(full.begin(&format!("{number}"), "x"), Begin::New));
        assert_eq!(full.begin("more", "x"), Begin::Full);
    }
}
