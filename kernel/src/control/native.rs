//! The one mode of a machine whose image has no VMM.

use super::{Answer, REFUSED, Target, answer};
use alloc::string::String;
use core::time::Duration;

pub fn switch(_: &str, target: Target, _: Duration) -> Answer {
    match target {
        Target::Native => answer(super::DONE, status()),
        Target::Guest | Target::Toggle => {
            let mut body = status();
            body.pop();
            body.push_str(r#","error":"the VMM was left out of this image"}"#);
            answer(REFUSED, body)
        }
    }
}

pub fn status() -> String {
    r#"{"mode":"native","vendor":null,"nested":false,"switches":0,"last":null,"refusal":null,"exits":{},"unavailable":"the VMM was left out of this image"}"#.into()
}

pub fn trace() -> String {
    r#"{"hertz":0,"switches":[]}"#.into()
}
