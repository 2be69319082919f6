//! The one mode of a machine whose image has no VMM.

use super::{Answer, REFUSED, Target, answer};
use alloc::format;
use alloc::string::String;
use core::time::Duration;

const ABSENT: &str = "the VMM was left out of this image";

pub fn switch(_: &str, target: Target, _: Duration) -> Answer {
    match target {
        Target::Native => answer(super::DONE, status()),
        Target::Guest | Target::Toggle => {
            let mut body = status();
            body.pop();
            answer(REFUSED, body + &format!(r#","error":"{ABSENT}"}}"#))
        }
    }
}

pub fn status() -> String {
    format!(
        r#"{{"mode":"native","vendor":null,"nested":false,"switches":0,"last":null,"refusal":null,"exits":{{}},{},"unavailable":"{ABSENT}"}}"#,
        super::resources()
    )
}

pub fn trace() -> String {
    r#"{"hertz":0,"switches":[]}"#.into()
}
