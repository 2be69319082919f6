//! What came out, for people: tables on the terminal, and one HTML page with plots that needs nothing else.

mod compare;
mod costs;
mod page;
mod plot;
mod ratios;
mod sparkline;
mod switches;
mod tables;
mod throughput;

pub use page::page;
pub use tables::tables;

#[cfg(test)]
mod tests;
