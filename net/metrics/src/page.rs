//! The dashboard: one page, which needs nothing from elsewhere and may load nothing.

use alloc::format;
use alloc::string::String;
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

/// The page.
pub const HTML: &str = include_str!("dashboard.html");

/// Header fields of the page: what a browser lets it do. Its own script and style are known by their hashes, everything
/// else is forbidden but asking this server for figures.
pub fn fields() -> String {
    let (script, style) = (hash("script"), hash("style"));
    format!(
        "Content-Security-Policy: default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
    )
}

/// The source expression for what is between an element's tags.
fn hash(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inside = HTML.split(open.as_str()).nth(1).and_then(|rest| rest.split(close.as_str()).next());
    let digest = Sha256::digest(inside.unwrap_or_default());
    format!("'sha256-{}'", Base64::encode_string(&digest))
}
